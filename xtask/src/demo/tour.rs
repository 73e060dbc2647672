//! The tour: what the demo invites a person to try, done without one. CI runs it as a smoke test.

use std::path::Path;
use std::process::Command;

use super::http::{self, Body};
use super::scene::{self, Scene};

/// What the tour puts into the shop, takes away and wants back.
const FEEDBACK: &str = "KnotsThatHold";
/// What it puts in while the third party refuses.
const UNKEPT: &str = "LostAtSea";
const UPLOAD: &str = "bowline.txt";
const UPLOAD_TEXT: &str = "up through the hole, round the tree, down again";

/// Walks through everything; the error says which stop was not as it should be.
pub(crate) fn run(binaries: &Path) -> Result<(), String> {
    println!("opening a scratch directory and starting mainstay …");
    let mut scene = Scene::open(binaries, &|| false)?;
    println!("everything runs in {}", scene.directory().display());
    walk(&mut scene)?;
    let status = scene.close()?;
    println!("\n$ kill -TERM the daemon\nmainstay ended with {status}");
    if !status.success() {
        return Err(format!("mainstay ended with {status} on SIGTERM"));
    }
    for shop in &scene.shops {
        if scene::answers(shop.port) {
            return Err(format!(
                "`{}` still answers after mainstay has ended",
                shop.name
            ));
        }
    }
    println!("no program is left, the scratch directory is removed");
    Ok(())
}

fn walk(scene: &mut Scene) -> Result<(), String> {
    let port = scene.shops[0].port;
    status_and_feedback(scene, port)?;
    keeps_nothing_without_its_partner(scene, port)?;
    survives_a_kill(scene, port)?;
    refuses_a_wrong_key(scene)?;
    backup_and_restore(scene, port)?;
    expect(scene, &["logs", "shop", "-n", "3"], 0, "")?;
    expect(scene, &["stop", "shop"], 0, "")?;
    expect(scene, &["status"], 3, "shop")?;
    expect(scene, &["start", "shop"], 0, "")?;
    expect(scene, &["status"], 0, "shop")?;
    Ok(())
}

fn status_and_feedback(scene: &Scene, port: u16) -> Result<(), String> {
    expect(scene, &["status"], 0, "shop")?;
    let form = [
        ("name", "Tour"),
        ("rating", "5"),
        ("message", FEEDBACK),
        ("product", ""),
    ];
    post(port, "/feedback", &Body::Form(&form))?;
    post(port, "/uploads", &Body::File(UPLOAD, UPLOAD_TEXT))?;
    holds(port, "/feedback", FEEDBACK, true)?;
    holds(port, "/uploads", UPLOAD, true)
}

/// When the third party refuses, the visitor has a page with a code, and nothing is kept.
fn keeps_nothing_without_its_partner(scene: &mut Scene, port: u16) -> Result<(), String> {
    let partner = scene.partner;
    scene.wait("the partner to answer", || Ok(scene::answers(partner)))?;
    let fault = |how: &str| format!("/admin/fault?do=partner-fail&how={how}");
    post(partner, &fault("refuse"), &Body::Nothing)?;
    let form = [("rating", "1"), ("message", UNKEPT)];
    let answer = http::ask(port, "POST", "/feedback", &Body::Form(&form))?;
    println!("\n$ POST /feedback\n{}\n{}", answer.status, answer.body);
    if answer.status != 502 {
        return Err(format!(
            "feedback that the partner refuses is answered with {}",
            answer.status
        ));
    }
    holds(port, "/feedback", UNKEPT, false)?;
    post(partner, &fault("off"), &Body::Nothing)
}

fn survives_a_kill(scene: &mut Scene, port: u16) -> Result<(), String> {
    let before = pid(scene)?.ok_or("the shop runs, and status names no pid")?;
    println!("\n$ kill -9 {before}");
    scene::signal("KILL", before)?;
    // The closure cannot borrow the scene that waits, so it asks by a command of its own.
    let mut status = scene.mainstay(&["status", "shop", "--json"]);
    scene.wait("the shop to run again", || {
        let said = text_of(&mut status)?.1;
        let again = field(&said, "shop", "state")
            .is_some_and(|state| state.eq_ignore_ascii_case("running"));
        let now = field(&said, "shop", "pid").and_then(|pid| pid.parse::<u32>().ok());
        Ok(again && now.is_some_and(|now| now != before))
    })?;
    scene.wait("the shop to answer again", || Ok(scene::answers(port)))?;
    let said = expect(scene, &["status"], 0, "shop")?;
    let json = text_of(&mut scene.mainstay(&["status", "shop", "--json"]))?.1;
    match field(&json, "shop", "restarts") {
        Some("1") => Ok(()),
        other => Err(format!(
            "after one kill, status counts {other:?} restarts:\n{said}"
        )),
    }
}

fn refuses_a_wrong_key(scene: &Scene) -> Result<(), String> {
    let config = scene.file("mainstay.toml");
    let text = std::fs::read_to_string(&config)
        .map_err(|why| format!("cannot read {}: {why}", config.display()))?;
    let wrong = scene.file("wrong.toml");
    std::fs::write(&wrong, text.replacen("start_secs", "start_sec", 1))
        .map_err(|why| format!("cannot write {}: {why}", wrong.display()))?;
    expect(scene, &["check", "-c", "wrong.toml"], 2, "start_secs").map(drop)
}

fn backup_and_restore(scene: &mut Scene, port: u16) -> Result<(), String> {
    expect(scene, &["backup", "run"], 0, "")?;
    expect(scene, &["backup", "list"], 0, "uploads")?;

    let data = scene.shops[0].data.clone();
    expect(scene, &["stop", "shop"], 0, "")?;
    println!("\n$ rm -r {}", data.display());
    std::fs::remove_dir_all(&data)
        .map_err(|why| format!("cannot remove {}: {why}", data.display()))?;
    expect(scene, &["start", "shop"], 0, "")?;
    scene.wait("the shop to answer again", || Ok(scene::answers(port)))?;
    holds(port, "/feedback", FEEDBACK, false)?;
    holds(port, "/uploads", UPLOAD, false)?;

    expect(scene, &["backup", "restore", "db", "--yes"], 0, "")?;
    expect(scene, &["backup", "restore", "uploads", "--yes"], 0, "")?;
    scene.wait("the shop to answer again", || Ok(scene::answers(port)))?;
    holds(port, "/feedback", FEEDBACK, true)?;
    holds(port, "/uploads", UPLOAD, true)?;
    holds(port, &format!("/uploads/{UPLOAD}"), UPLOAD_TEXT, true)?;
    expect(scene, &["backup", "verify"], 0, "").map(drop)
}

/// Runs a `mainstay` command before the person's eyes and holds it to its exit code and a word.
fn expect(scene: &Scene, args: &[&str], code: i32, word: &str) -> Result<String, String> {
    let line = format!("mainstay {}", args.join(" "));
    println!("\n$ {line}");
    let (ended, said) = text_of(&mut scene.mainstay(args))?;
    println!("{}", said.trim_end());
    if ended != Some(code) {
        return Err(format!("`{line}` ended with {ended:?} instead of {code}"));
    }
    if !said.contains(word) {
        return Err(format!("`{line}` does not say `{word}`"));
    }
    Ok(said)
}

/// The exit code of a command and all it said.
fn text_of(command: &mut Command) -> Result<(Option<i32>, String), String> {
    let output = command
        .output()
        .map_err(|why| format!("cannot start mainstay: {why}"))?;
    let mut said = String::from_utf8_lossy(&output.stdout).into_owned();
    said += &String::from_utf8_lossy(&output.stderr);
    Ok((output.status.code(), said))
}

fn pid(scene: &Scene) -> Result<Option<u32>, String> {
    let said = text_of(&mut scene.mainstay(&["status", "shop", "--json"]))?.1;
    Ok(field(&said, "shop", "pid").and_then(|pid| pid.parse().ok()))
}

/// The value of a key in the object of one program in the JSON of `status`, without its quotes.
/// The keys asked for stand after `program` there and hold numbers and plain words.
fn field<'a>(json: &'a str, program: &str, key: &str) -> Option<&'a str> {
    let after = |text: &'a str, key: &str| {
        let (_, rest) = text.split_once(&format!("\"{key}\""))?;
        Some(rest.trim_start().strip_prefix(':')?.trim_start())
    };
    let mut rest = json;
    loop {
        rest = after(rest, "program")?;
        if rest
            .strip_prefix('"')?
            .strip_prefix(program)
            .is_some_and(|rest| rest.starts_with('"'))
        {
            let value = after(rest, key)?;
            let end = value.find([',', '}', '\n']).unwrap_or(value.len());
            return Some(value[..end].trim().trim_matches('"'));
        }
    }
}

fn post(port: u16, path: &str, body: &Body<'_>) -> Result<(), String> {
    let answer = http::ask(port, "POST", path, body)?;
    println!("\n$ POST {path}\n{}", answer.status);
    match answer.status {
        200..400 => Ok(()),
        status => Err(format!("POST {path} is answered with {status}")),
    }
}

/// Whether a page shows a text, as it should or should not.
fn holds(port: u16, path: &str, text: &str, expected: bool) -> Result<(), String> {
    let answer = http::ask(port, "GET", path, &Body::Nothing)?;
    let found = answer.status == 200 && answer.body.contains(text);
    let words = if found { "shows" } else { "does not show" };
    println!("GET {path} {words} `{text}`");
    if found == expected {
        Ok(())
    } else {
        Err(format!("{path} {words} `{text}` ({})", answer.status))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_those_of_the_program() {
        let json = r#"{"daemon":{"pid":1},"programs":[
            {"name":"twin","program":"twin","state":"BACKOFF","pid":null,"restarts":3},
            {"name": "shop", "program": "shop", "state": "RUNNING",
             "pid": 42, "restarts": 1}]}"#;
        for (program, key, expected) in [
            ("shop", "pid", Some("42")),
            ("shop", "restarts", Some("1")),
            ("shop", "state", Some("RUNNING")),
            ("twin", "pid", Some("null")),
            ("twin", "restarts", Some("3")),
            ("sho", "pid", None),
            ("shop", "uptime", None),
        ] {
            assert_eq!(field(json, program, key), expected, "{program} {key}");
        }
    }
}
