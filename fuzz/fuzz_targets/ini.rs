//! What can be in a `supervisord.conf`.

#![no_main]

use libfuzzer_sys::fuzz_target;
use mainstay_supervisord::conf::expand::{Expansions, Value, expand};
use mainstay_supervisord::conf::ini::Ini;
use mainstay_supervisord::conf::values;

fuzz_target!(|text: &str| {
    let names = Expansions::from([
        ("here".to_owned(), Value::from("/etc")),
        ("process_num".to_owned(), Value::Number(7)),
    ]);
    let mut ini = Ini::new();
    if ini.read("fuzz", text).is_err() {
        return;
    }
    ini.replace_here("/etc");
    for entry in ini
        .sections()
        .iter()
        .flat_map(|section| ini.entries(section))
    {
        let _ = expand(&entry.value, &names, &entry.key);
        let value = entry.value.as_str();
        let _ = values::boolean(value);
        let _ = values::integer(value);
        let _ = values::octal(value);
        let _ = values::byte_size(value);
        let _ = values::exit_codes(value);
        let _ = values::signal(value);
        let _ = values::restart(value);
        let _ = values::level(value);
        let _ = values::log_file(value);
        let _ = values::name(value);
        let _ = values::user_group(value);
        let _ = values::inet_address(value);
        let _ = values::environment(value);
    }
});
