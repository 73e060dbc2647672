//! The codec against its tables, against itself and against Python.

use std::fmt::Write as _;
use std::path::Path;
use std::process::Command;

use proptest::prelude::*;
use proptest::strategy::ValueTree as _;
use proptest::test_runner::TestRunner;

use super::*;

/// A value in a notation that the Python side of the tests writes too.
fn show(value: &Value) -> String {
    let hex = |bytes: &[u8]| {
        bytes.iter().fold(String::new(), |mut out, byte| {
            write!(out, "{byte:02x}").unwrap();
            out
        })
    };
    let all = |items: Vec<String>| items.join(" ");
    match value {
        Value::Int(number) => format!("i{number}"),
        Value::Bool(truth) => format!("{truth}"),
        Value::Text(text) => format!("s{}", hex(text.as_bytes())),
        Value::Double(number) => format!("d{number:?}"),
        Value::DateTime(text) => format!("t{text}"),
        Value::Base64(bytes) => format!("b{}", hex(bytes)),
        Value::Nil => "nil".to_owned(),
        Value::Array(items) => format!("[{}]", all(items.iter().map(show).collect())),
        Value::Struct(members) => {
            let mut members: Vec<String> = members
                .iter()
                .map(|(name, value)| format!("{}:{}", hex(name.as_bytes()), show(value)))
                .collect();
            members.sort();
            format!("{{{}}}", all(members))
        }
    }
}

fn call(text: &[u8]) -> String {
    match parse_call(text) {
        Ok(call) => {
            let params: Vec<String> = call.params.iter().map(show).collect();
            format!("{}({})", call.method, params.join(" "))
        }
        Err(error) => format!("{:?}", error.kind),
    }
}

/// Puts a value in a call.
fn with_value(value: &str) -> String {
    format!(
        "<?xml version='1.0'?>\n<methodCall>\n<methodName>a.b</methodName>\n<params>\n<param>\n\
         {value}</param>\n</params>\n</methodCall>\n"
    )
}

/// Values as they are written and what they mean. All of these mean the same to the original.
const VALUES: &[(&str, &str)] = &[
    ("<value>text</value>", "s74657874"),
    ("<value> t </value>", "s207420"),
    ("<value/>", "s"),
    ("<value></value>", "s"),
    ("<value><string/></value>", "s"),
    ("<value><string>a</string></value>", "s61"),
    ("<value>\n <string>a</string>\n</value>", "s61"),
    ("<value><i4>4</i4></value>", "i4"),
    ("<value><int>-7</int></value>", "i-7"),
    ("<value><int> +7\n</int></value>", "i7"),
    ("<value><boolean>1</boolean></value>", "true"),
    ("<value><boolean>0</boolean></value>", "false"),
    ("<value><double>-1.5</double></value>", "d-1.5"),
    ("<value><double>2</double></value>", "d2.0"),
    ("<value>a<!-- b -->c</value>", "s6163"),
    ("<value><![CDATA[<&]]>x</value>", "s3c2678"),
    (
        "<value>&lt;&gt;&amp;&quot;&apos;&#65;&#x42;</value>",
        "s3c3e2622274142",
    ),
    ("<value a='>' b=\"/\">x</value>", "s78"),
    ("<value>a\r\nb\rc&#13;</value>", "s610a620a630d"),
    ("<value>ü€😀</value>", "sc3bce282acf09f9880"),
    ("<value><?pi x?>y</value>", "s79"),
    ("<value><array><data/></array></value>", "[]"),
    (
        "<value><array> <data>\n<value>a</value> <value><int>1</int></value></data></array></value>",
        "[s61 i1]",
    ),
    ("<value><struct/></value>", "{}"),
    (
        "<value><struct>\n<member> <name>k</name>\n<value>v</value> </member></struct></value>",
        "{6b:s76}",
    ),
    (
        "<value><struct><member><name>k</name><value><array><data><value><boolean>1</boolean>\
         </value></data></array></value></member></struct></value>",
        "{6b:[true]}",
    ),
    ("<value><unknown>u</unknown></value>", "s75"),
    ("<int>3</int>", "i3"),
];

/// Texts that are read in our own way, or refused.
#[test]
fn calls_are_read() {
    let long_name = format!("<a><methodName>{}</methodName></a>", "x".repeat(100));
    let cases: &[(&str, &str, &str)] = &[
        (
            "no params",
            "<methodCall><methodName>a.b</methodName></methodCall>",
            "a.b()",
        ),
        (
            "empty params",
            "<methodCall><methodName>m</methodName><params/></methodCall>",
            "m()",
        ),
        ("any root", "<x><methodName>m</methodName></x>", "m()"),
        (
            "order",
            "<x><params><param><value>v</value></param></params><methodName>m</methodName></x>",
            "m(s76)",
        ),
        (
            "without param",
            "<x><methodName>m</methodName><params><value>v</value></params></x>",
            "m(s76)",
        ),
        (
            "unknown elements",
            "<x><y><z/>q</y><methodName>m</methodName><p/></x>",
            "m()",
        ),
        ("BOM", "\u{feff}<x><methodName>m</methodName></x>", "m()"),
        (
            "trailing",
            "<x><methodName>m</methodName></x>\n<!-- x -->\n",
            "m()",
        ),
        (
            "ESC",
            "<x><methodName>m</methodName><params><value>\u{1b}&#27;</value></params></x>",
            "m(s1b1b)",
        ),
        (
            "nil",
            "<x><methodName>m</methodName><params><value><ex:nil/></value></params></x>",
            "m(nil)",
        ),
        (
            "i8",
            "<x><methodName>m</methodName><params><i8>9223372036854775807</i8></params></x>",
            "m(i9223372036854775807)",
        ),
        (
            "base64",
            "<x><methodName>m</methodName><params><base64>Zm9v\n</base64></params></x>",
            "m(b666f6f)",
        ),
        (
            "time",
            "<x><methodName>m</methodName><params><dateTime.iso8601>20200101T00:00:00</dateTime.iso8601></params></x>",
            "m(t20200101T00:00:00)",
        ),
        (
            "truth",
            "<x><methodName>m</methodName><params><boolean> true </boolean></params></x>",
            "m(true)",
        ),
        ("empty", "", "Malformed(\"there is no element\")"),
        ("no method", "<x><params/></x>", "NoMethod"),
        ("empty method", "<x><methodName/></x>", "NoMethod"),
        (
            "nested method",
            "<x><y><methodName>m</methodName></y></x>",
            "NoMethod",
        ),
        (
            "open",
            "<x><methodName>m</methodName>",
            "Malformed(\"an element is not closed\")",
        ),
        ("open tag", "<x", "Malformed(\"a tag is not closed\")"),
        (
            "open quote",
            "<x a='>",
            "Malformed(\"a tag is not closed\")",
        ),
        (
            "wrong end",
            "<x><y></x></y>",
            "Malformed(\"the end of an element has another name\")",
        ),
        (
            "second root",
            "<x/><y/>",
            "Malformed(\"there is a second root\")",
        ),
        (
            "text before",
            "a<x/>",
            "Malformed(\"there is text outside of the root\")",
        ),
        (
            "text after",
            "<x/>a",
            "Malformed(\"there is text outside of the root\")",
        ),
        (
            "entity",
            "<x>&nbsp;</x>",
            "Malformed(\"an entity is not known\")",
        ),
        (
            "open entity",
            "<x>a & b</x>",
            "Malformed(\"an entity is not closed\")",
        ),
        (
            "reference",
            "<x>&#xD800;</x>",
            "Malformed(\"a character reference is out of range\")",
        ),
        (
            "NUL",
            "<x>&#0;</x>",
            "Malformed(\"a character reference is out of range\")",
        ),
        (
            "raw NUL",
            "<x>\0</x>",
            "Malformed(\"there is a NUL character\")",
        ),
        (
            "doctype",
            "<!DOCTYPE x [<!ENTITY a \"b\">]><x>&a;</x>",
            "DocumentType",
        ),
        ("doctype inside", "<x><!DOCTYPE y></x>", "DocumentType"),
        (
            "no name",
            "<x>< y/></x>",
            "Malformed(\"a tag has no name\")",
        ),
        (
            "bad int",
            "<x><params><int>1x</int></params></x>",
            "BadValue(\"int\")",
        ),
        (
            "big int",
            "<x><params><int>9223372036854775808</int></params></x>",
            "BadValue(\"int\")",
        ),
        (
            "bad truth",
            "<x><params><boolean>yes</boolean></params></x>",
            "BadValue(\"boolean\")",
        ),
        (
            "bad base64",
            "<x><params><base64>Z</base64></params></x>",
            "BadValue(\"base64\")",
        ),
        (
            "empty param",
            "<x><params><param/></params></x>",
            "BadValue(\"parameter\")",
        ),
        (
            "half a member",
            "<x><params><struct><member><name>a</name></member></struct></params></x>",
            "BadValue(\"struct member\")",
        ),
        (
            "encoding",
            "<?xml version='1.0' encoding='utf-16'?><x/>",
            "Encoding",
        ),
        ("long name", &long_name, &format!("{}()", "x".repeat(100))),
    ];
    for (name, text, expected) in cases {
        assert_eq!(call(text.as_bytes()), *expected, "{name}");
    }
    for (text, expected) in VALUES {
        assert_eq!(
            call(with_value(text).as_bytes()),
            format!("a.b({expected})"),
            "{text}"
        );
    }
}

#[test]
fn encodings_are_read() {
    let text = |encoding: &str, byte: &[u8]| {
        let mut bytes =
            format!("<?xml version=\"1.0\" encoding=\"{encoding}\"?><x><methodName>").into_bytes();
        bytes.extend_from_slice(byte);
        bytes.extend_from_slice(b"</methodName></x>");
        call(&bytes)
    };
    assert_eq!(text("ISO-8859-1", b"\xfc"), "ü()");
    assert_eq!(text("latin-1", b"\xfc"), "ü()");
    assert_eq!(text("UTF-8", "ü".as_bytes()), "ü()");
    assert_eq!(text("us-ascii", b"u"), "u()");
    assert_eq!(text("utf-8", b"\xfc"), "Encoding");
    assert_eq!(text("koi8-r", b"u"), "Encoding");
}

#[test]
fn limits_are_kept() {
    let nested = |depth: usize| {
        let value = format!(
            "{}{}",
            "<value><array><data>".repeat(depth),
            "</data></array></value>".repeat(depth)
        );
        call(with_value(&value).as_bytes())
    };
    assert!(nested(64).starts_with("a.b("));
    assert_eq!(nested(65), "TooDeep");
    assert_eq!(nested(10_000), "TooDeep");
    let structs = format!(
        "{}<value/>{}",
        "<value><struct><member><name/>".repeat(64),
        "</member></struct></value>".repeat(64)
    );
    assert!(call(with_value(&structs).as_bytes()).starts_with("a.b("));
    let elements = format!("{}{}", "<a>".repeat(300_000), "</a>".repeat(100));
    assert_eq!(call(elements.as_bytes()), "TooDeep");
    let values = format!("{}{}", "<value>".repeat(10_000), "</value>".repeat(10_000));
    assert_eq!(call(with_value(&values).as_bytes()), "TooDeep");
    let many = |count: usize| {
        let text = format!(
            "<a><params>{}</params><methodName>m</methodName></a>",
            "<i1/>".repeat(count)
        );
        parse_call(text.replace("<i1/>", "<nil/>").as_bytes()).map(|call| call.params.len())
    };
    assert_eq!(many(100_000), Ok(100_000));
    assert_eq!(many(100_001).unwrap_err().kind, ParseErrorKind::TooMany);
    let long = vec![b' '; (1 << 20) + 1];
    assert_eq!(call(&long), "TooLong");
    let inside = Limits {
        bytes: 1 << 21,
        ..Limits::CALL
    };
    assert_ne!(
        parse_call_within(&long, inside).unwrap_err().kind,
        ParseErrorKind::TooLong
    );
}

#[test]
fn answers_and_faults_are_told_apart() {
    let mut bytes = Vec::new();
    write_fault(10, "BAD_NAME: a<b", &mut bytes);
    let fault = Fault {
        code: 10,
        text: "BAD_NAME: a<b".to_owned(),
    };
    assert_eq!(parse_response(&bytes), Ok(Err(fault)));
    let mut bytes = Vec::new();
    write_response(&Value::from([("a", Value::Nil)]), &mut bytes);
    assert_eq!(
        parse_response(&bytes),
        Ok(Ok(Value::from([("a", Value::Nil)])))
    );
    for text in [
        "<methodResponse/>",
        "<methodResponse><params/></methodResponse>",
    ] {
        assert_eq!(
            parse_response(text.as_bytes()).unwrap_err().kind,
            ParseErrorKind::NoAnswer
        );
    }
}

#[test]
fn what_xml_cannot_carry_is_replaced() {
    let mut bytes = Vec::new();
    write_response_with(&mut bytes, |value| {
        value.log(b"\x1b[1m\0\t\r\n\xff\xc3\xef\xbf\xbf&\xef\xbb\xbf.");
    });
    let value = parse_response(&bytes).unwrap().unwrap();
    assert_eq!(
        value.as_str().unwrap(),
        "␛[1m␀\t\r\n\u{fffd}\u{fffd}\u{fffd}&\u{feff}."
    );
}

/// Without what Python changes on its way: two members of one name.
fn values(text: &'static str) -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        any::<i32>().prop_map(Value::from),
        any::<bool>().prop_map(Value::from),
        text.prop_map(Value::from),
        prop::sample::select(vec![0.5, -1.25, 3.0]).prop_map(Value::from),
        Just(Value::DateTime("20200131T23:59:59".to_owned())),
        prop::collection::vec(any::<u8>(), 0..130).prop_map(Value::Base64),
        Just(Value::Nil),
    ];
    leaf.prop_recursive(4, 30, 5, move |inner| {
        let members = prop::collection::btree_map(text, inner.clone(), 0..5);
        prop_oneof![
            prop::collection::vec(inner, 0..5).prop_map(Value::Array),
            members.prop_map(|map| Value::Struct(map.into_iter().collect())),
        ]
    })
}

const CARRIED: &str = "[ -~äß€😀\n\t\r]{0,12}";
const ANY: &str = "(?s).{0,12}";

proptest! {
    #[test]
    fn values_come_back(value in values(CARRIED)) {
        let mut bytes = Vec::new();
        write_response(&value, &mut bytes);
        prop_assert_eq!(parse_response(&bytes).unwrap().unwrap(), value.clone());
        bytes.clear();
        write_call("a.b", std::slice::from_ref(&value), &mut bytes);
        prop_assert_eq!(parse_call(&bytes).unwrap().params, [value]);
    }

    #[test]
    fn every_answer_can_be_read(value in values(ANY)) {
        let mut bytes = Vec::new();
        write_response(&value, &mut bytes);
        prop_assert!(parse_response(&bytes).unwrap().is_ok());
    }

    #[test]
    fn every_log_can_be_read(log: Vec<u8>) {
        let mut bytes = Vec::new();
        write_response_with(&mut bytes, |value| value.log(&log));
        prop_assert!(parse_response(&bytes).unwrap().unwrap().as_str().is_some());
    }

    #[test]
    fn no_bytes_panic(bytes: Vec<u8>) {
        let _ = parse_call(&bytes);
        let _ = parse_response(&bytes);
    }

    #[test]
    fn no_pieces_panic(pieces in prop::collection::vec(prop::sample::select(vec![
        "<", ">", "</", "/>", "value", "<value>", "</value>", "<array>", "<data>", "</data>",
        "</array>", "<struct>", "<member>", "<name>", "</name>", "&", "&amp;", ";", "<![CDATA[",
        "]]>", "<!--", "-->", "<?", "?>", "ü", "x", "<params>", "</params>", "<fault>",
    ]), 0..40)) {
        let text = format!("<x>{}", pieces.concat());
        let _ = parse_call(text.as_bytes());
        let _ = parse_response(text.as_bytes());
    }
}

const PYTHON: &str = r"
import sys, xmlrpc.client as x
def show(v):
    if v is None: return 'nil'
    if v is True: return 'true'
    if v is False: return 'false'
    if isinstance(v, int): return 'i%d' % v
    if isinstance(v, str): return 's' + v.encode().hex()
    if isinstance(v, float): return 'd%r' % v
    if isinstance(v, x.DateTime): return 't' + v.value
    if isinstance(v, x.Binary): return 'b' + v.data.hex()
    if isinstance(v, (list, tuple)): return '[' + ' '.join(map(show, v)) + ']'
    return '{' + ' '.join(sorted('%s:%s' % (k.encode().hex(), show(i)) for k, i in v.items())) + '}'
out = sys.stdout.buffer
def load(data):
    if sys.argv[2] == 'client': return x.loads(data)
    from supervisor.xmlrpc import supervisor_xmlrpc_handler as h
    return h.loads(h, data.decode())
for n in range(int(sys.argv[3])):
    data = open('%s/%d' % (sys.argv[1], n), 'rb').read()
    try:
        params, method = load(data)
        out.write(show(params).encode())
        if sys.argv[2] == 'client':
            again = x.dumps(params, method, methodresponse=method is None, allow_none=True)
            out.write(b'\1' + again.encode())
    except Exception as e:
        out.write(repr(e).encode())
    out.write(b'\0')
";

/// What Python makes of each of the texts; nothing if this Python cannot.
fn ask_python(python: &str, reader: &str, texts: &[Vec<u8>]) -> Option<Vec<String>> {
    if reader == "original" {
        let probe = Command::new(python)
            .args(["-c", "import supervisor.xmlrpc"])
            .output();
        if !probe.is_ok_and(|run| run.status.success()) {
            return None;
        }
    }
    let dir = tempfile::tempdir().unwrap();
    for (number, text) in texts.iter().enumerate() {
        std::fs::write(dir.path().join(number.to_string()), text).unwrap();
    }
    let count = texts.len().to_string();
    let path: &Path = dir.path();
    let run = Command::new(python)
        .args(["-c", PYTHON])
        .arg(path)
        .args([reader, &count])
        .output()
        .ok()?;
    assert!(
        run.status.success(),
        "{}",
        String::from_utf8_lossy(&run.stderr)
    );
    let said = String::from_utf8(run.stdout).unwrap();
    let said: Vec<String> = said.split_terminator('\0').map(str::to_owned).collect();
    assert_eq!(said.len(), texts.len());
    Some(said)
}

fn samples<T: std::fmt::Debug>(strategy: impl Strategy<Value = T>, count: usize) -> Vec<T> {
    let mut runner = TestRunner::deterministic();
    (0..count)
        .map(|_| strategy.new_tree(&mut runner).unwrap().current())
        .collect()
}

#[test]
fn python_reads_what_we_write_and_writes_the_same() {
    let mut values = samples(values(ANY), 200);
    values.extend(samples(self::values(CARRIED), 200));
    let texts: Vec<Vec<u8>> = values
        .iter()
        .enumerate()
        .map(|(number, value)| {
            let mut bytes = Vec::new();
            if number % 2 == 0 {
                write_response(value, &mut bytes);
            } else {
                write_call("a.b", std::slice::from_ref(value), &mut bytes);
            }
            bytes
        })
        .collect();
    let Some(said) = ask_python("python3", "client", &texts) else {
        println!("SKIPPED: python3 is not installed");
        return;
    };
    for (text, said) in texts.iter().zip(said) {
        let text = str::from_utf8(text).unwrap();
        let value = match parse_response(text.as_bytes()) {
            Ok(answer) => answer.unwrap(),
            Err(_) => parse_call(text.as_bytes()).unwrap().params.remove(0),
        };
        let (shown, again) = said.split_once('\u{1}').expect(&said);
        assert_eq!(shown, format!("[{}]", show(&value)), "{text}");
        if !text.contains("&#13;") {
            assert_eq!(again, text);
        }
    }
}

#[test]
fn the_original_reads_calls_as_we_do() {
    let texts: Vec<Vec<u8>> = VALUES
        .iter()
        .map(|(value, _)| with_value(value).into_bytes())
        .collect();
    let Some(said) = ask_python("/usr/bin/python3", "original", &texts) else {
        println!("SKIPPED: supervisor is not installed for /usr/bin/python3");
        return;
    };
    for ((text, expected), said) in VALUES.iter().zip(said) {
        assert_eq!(said, format!("[{expected}]"), "{text}");
    }
}

/// Values with all that may stand between and inside of their elements, and some that are wrong.
fn dressed() -> impl Strategy<Value = String> {
    let noise = || {
        let pieces = vec![
            "",
            "",
            "\n",
            " ",
            "<!--c-->",
            "<?p?>",
            "text",
            "&amp;",
            "<![CDATA[<]]>",
        ];
        prop::sample::select(pieces)
    };
    let inside = prop::collection::vec(
        prop::sample::select(vec![
            "1",
            " 0 ",
            "-2",
            "1.5",
            "a",
            "\n",
            "\r\n",
            "&lt;",
            "&#65;",
            "<!--c-->",
            "<?p?>",
            "]]",
            "ü",
            "<![CDATA[<]]>",
            "<x>y</x>",
            "&",
            "",
        ]),
        0..4,
    );
    let tags = vec![
        "string", "string", "int", "i4", "boolean", "double", "unknown",
    ];
    let typed = (prop::sample::select(tags), inside.clone(), noise(), noise()).prop_map(
        |(tag, inside, before, after)| {
            // What is not known and empty is nothing there, and an empty text here.
            let first = if tag == "unknown" { "u" } else { "" };
            format!(
                "<value>{before}<{tag}>{first}{}</{tag}>{after}</value>",
                inside.concat()
            )
        },
    );
    let plain = inside.prop_map(|inside| format!("<value>{}</value>", inside.concat()));
    prop_oneof![plain, typed].prop_recursive(4, 16, 4, move |inner| {
        let array = (
            prop::collection::vec((noise(), inner.clone()), 0..4),
            noise(),
            noise(),
        );
        let array = array.prop_map(|(items, before, after)| {
            let items: Vec<String> = items
                .into_iter()
                .map(|(noise, item)| noise.to_owned() + &item)
                .collect();
            let items = items.concat();
            format!("<value>{before}<array>{after}<data>{items}{before}</data></array></value>")
        });
        let structure = (
            prop::collection::vec((noise(), "[a-d]", inner.clone()), 0..4),
            noise(),
        );
        let structure = structure.prop_map(|(members, after)| {
            let member = |(noise, name, item): &(&str, String, String)| {
                format!("{noise}<member>{noise}<name>{name}</name>{noise}{item}</member>")
            };
            let members: String = members.iter().map(member).collect();
            format!("<value><struct>{members}{after}</struct></value>")
        });
        let twice = inner.prop_map(|inner| format!("<value>{inner}</value>"));
        prop_oneof![4 => array, 4 => structure, 1 => twice]
    })
}

/// Members by name, the last of one name only, as in a Python dictionary.
fn without_repetition(value: Value) -> Value {
    match value {
        Value::Array(items) => Value::Array(items.into_iter().map(without_repetition).collect()),
        Value::Struct(members) => {
            let members = members
                .into_iter()
                .map(|(name, value)| (name, without_repetition(value)));
            let last: std::collections::BTreeMap<_, _> = members.collect();
            Value::Struct(last.into_iter().collect())
        }
        other => other,
    }
}

#[test]
fn what_the_original_reads_is_not_misread() {
    let texts = samples(dressed(), 3000);
    let texts: Vec<Vec<u8>> = texts
        .iter()
        .map(|text| with_value(text).into_bytes())
        .collect();
    let Some(said) = ask_python("/usr/bin/python3", "original", &texts) else {
        println!("SKIPPED: supervisor is not installed for /usr/bin/python3");
        return;
    };
    let mut read = 0;
    for (text, said) in texts.iter().zip(said) {
        if !said.starts_with('[') {
            continue;
        }
        let text = str::from_utf8(text).unwrap();
        let call = match parse_call(text.as_bytes()) {
            Ok(call) => call,
            // What is neither true nor false is false there.
            Err(why) if why.kind == ParseErrorKind::BadValue("boolean") => continue,
            Err(why) => panic!("{why}: {text}"),
        };
        let params: Vec<Value> = call.params.into_iter().map(without_repetition).collect();
        assert_eq!(show(&Value::Array(params)), said, "{text}");
        read += 1;
    }
    assert!(read > 1000, "{read}");
}
