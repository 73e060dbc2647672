//! What a server of buckets answers with a list, and what one of SFTP sends.

#![no_main]

use libfuzzer_sys::fuzz_target;
use mainstay_backup::restic::answers::{names, packets};

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;")
}

fuzz_target!(|bytes: &[u8]| {
    packets(bytes);
    let Ok(text) = std::str::from_utf8(bytes) else {
        return;
    };
    for text in [
        text.to_owned(),
        format!("<ListBucketResult>{text}</ListBucketResult>"),
    ] {
        let Some((found, next)) = names(&text, "a/") else {
            continue;
        };
        // What was understood is what would be understood again.
        let mut again = String::from("<ListBucketResult>");
        for name in &found {
            let name = escaped(name);
            again += &format!("<Contents><Key>a/{name}</Key><Size>7</Size></Contents>");
        }
        if let Some(next) = &next {
            let next = escaped(next);
            again += "<IsTruncated>true</IsTruncated>";
            again += &format!("<NextContinuationToken>{next}</NextContinuationToken>");
        }
        again += "</ListBucketResult>";
        assert_eq!(names(&again, "a/"), Some((found, next)));
    }
});
