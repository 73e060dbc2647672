//! What a stranger can send as a call, and a server as an answer.

#![no_main]

use libfuzzer_sys::fuzz_target;
use mainstay_supervisord::xmlrpc::{
    parse_call, parse_response, write_call, write_response, write_response_with,
};

fuzz_target!(|bytes: &[u8]| {
    let mut out = Vec::new();
    write_response_with(&mut out, |value| value.log(bytes));
    assert!(parse_response(&out).is_ok_and(|answer| answer.is_ok()));

    if let Ok(call) = parse_call(bytes) {
        // The first writing replaces what XML cannot carry; after that nothing changes.
        out.clear();
        write_call(&call.method, &call.params, &mut out);
        let again = parse_call(&out).expect("what is written can be read");
        let mut second = Vec::new();
        write_call(&again.method, &again.params, &mut second);
        assert_eq!(out, second);
    }
    if let Ok(Ok(value)) = parse_response(bytes) {
        out.clear();
        write_response(&value, &mut out);
        assert!(parse_response(&out).is_ok_and(|answer| answer.is_ok()));
    }
});
