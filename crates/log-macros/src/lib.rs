//! What the macros of `mainstay-log` do when they are compiled; of no use alone.
//!
//! Hides how a message (`"user {name} has {} left", count`) becomes code. `format_args!` makes a list
//! of pieces that is gone through by `core::fmt` for each record; here the pieces are appended one
//! after the other by code of their own, and numbers and text without the machinery of `fmt`, for about
//! a third of the price. What that does not understand is left to `format_args!`: the text is the same
//! either way, and so are the compiler's words about a mistake in it.

mod pieces;

use proc_macro::{Delimiter, Group, Ident, Literal, Punct, Spacing, Span, TokenStream, TokenTree};

use pieces::{Piece, Which, literal_text, pieces};

/// `message!((crate) (leading arguments) "text", arguments)`: calls `crate::__write` with the leading
/// arguments and the message.
#[doc(hidden)]
#[proc_macro]
pub fn message(input: TokenStream) -> TokenStream {
    let mut input = input.into_iter();
    let (Some(TokenTree::Group(home)), Some(TokenTree::Group(leading))) =
        (input.next(), input.next())
    else {
        // Only the macros of mainstay-log call this.
        return TokenStream::new();
    };
    let home = Home(home.stream());
    let rest: Vec<TokenTree> = input.collect();
    let text = taken_apart(&home, &leading, &rest);
    text.unwrap_or_else(|| {
        let arguments: TokenStream = rest.into_iter().collect();
        let mut shown = path(&["core", "format_args"]);
        shown.extend([punct('!'), parenthesised(arguments)]);
        home.write(&leading, "Format", shown)
    })
}

/// The call for a message that is understood.
fn taken_apart(home: &Home, leading: &Group, rest: &[TokenTree]) -> Option<TokenStream> {
    let (first, arguments) = rest.split_first()?;
    let first = literal(first)?;
    let span = first.span();
    let pieces = pieces(&literal_text(&first.to_string())?)?;
    let arguments = split(arguments)?;
    if pieces.iter().all(|piece| matches!(piece, Piece::Text(_))) {
        if !arguments.is_empty() {
            return None;
        }
        let text: String = pieces.iter().map(Piece::text).collect();
        let text = TokenTree::Literal(Literal::string(&text));
        return Some(home.write(leading, "Text", text.into()));
    }
    // Each is looked at once, whatever a format does with the message.
    let positional = arguments.iter().filter(|(name, _)| name.is_none()).count();
    let mut values: Vec<(Option<String>, TokenStream)> = arguments;
    let mut used = vec![false; values.len()];
    let mut next = 0;
    let mut body = TokenStream::new();
    let mut is_known = false;
    for piece in &pieces {
        let (which, spec) = match piece {
            Piece::Text(text) => {
                body.extend(append_text(text));
                continue;
            }
            Piece::Argument(which, spec) => (which, spec),
        };
        let place = match which {
            Which::Next => {
                next += 1;
                next - 1
            }
            Which::Named(name) => {
                let there = |(other, _): &(Option<String>, _)| other.as_ref() == Some(name);
                values.iter().position(there).unwrap_or_else(|| {
                    let ident = TokenTree::Ident(Ident::new(name, span));
                    values.push((Some(name.clone()), ident.into()));
                    used.push(true);
                    values.len() - 1
                })
            }
        };
        if matches!(which, Which::Next) && place >= positional {
            return None;
        }
        used[place] = true;
        is_known |= spec.is_empty();
        body.extend(append_argument(home, place, spec));
    }
    if used.contains(&false) || next != positional {
        return None;
    }
    if is_known {
        // The trait for what is known is asked first, see the module `parts` of mainstay-log.
        let names = "{ Known as _, Shown as _ }".parse::<TokenStream>().ok()?;
        let mut uses = TokenStream::from(TokenTree::Ident(local("use")));
        uses.extend(home.path(&["__parts"]));
        uses.extend(colons());
        uses.extend(names);
        uses.extend([punct(';')]);
        uses.extend(body);
        body = uses;
    }
    let mut ok = path(&["core", "result", "Result", "Ok"]);
    ok.extend([parenthesised(
        TokenTree::from(group(Delimiter::Parenthesis, TokenStream::new())).into(),
    )]);
    body.extend(ok);

    let mut closure = TokenStream::from(punct('&'));
    closure.extend([
        punct('|'),
        TokenTree::Ident(local("out")),
        punct(':'),
        punct('&'),
    ]);
    closure.extend([TokenTree::Ident(local("mut"))]);
    closure.extend(path(&["std", "vec", "Vec"]));
    closure.extend([
        punct('<'),
        TokenTree::Ident(local("u8")),
        punct('>'),
        punct('|'),
    ]);
    closure.extend(arrow());
    closure.extend(path(&["core", "fmt", "Result"]));
    closure.extend([TokenTree::from(group(Delimiter::Brace, body))]);

    let mut tuple = TokenStream::new();
    for (_, value) in values {
        tuple.extend([punct('&'), parenthesised(value), punct(',')]);
    }
    let mut arm = TokenStream::from(TokenTree::Ident(local("arguments")));
    arm.extend([joint('='), punct('>')]);
    arm.extend(home.write(leading, "Parts", closure));
    let mut result = TokenStream::from(TokenTree::Ident(local("match")));
    result.extend([
        parenthesised(tuple),
        TokenTree::from(group(Delimiter::Brace, arm)),
    ]);
    Some(result)
}

/// The crate the macros are of.
struct Home(TokenStream);

impl Home {
    fn path(&self, names: &[&str]) -> TokenStream {
        let mut path = self.0.clone();
        for name in names {
            path.extend(colons());
            path.extend([TokenTree::Ident(local(name))]);
        }
        path
    }

    /// The call of `__write` with a message of this kind.
    fn write(&self, leading: &Group, kind: &str, message: TokenStream) -> TokenStream {
        let mut arguments = leading.stream();
        arguments.extend([punct(',')]);
        arguments.extend(self.path(&["Message", kind]));
        arguments.extend([parenthesised(message)]);
        let mut call = self.path(&["__write"]);
        call.extend([parenthesised(arguments)]);
        call
    }
}

/// `out.extend_from_slice(b"text");`
fn append_text(text: &str) -> TokenStream {
    let bytes = TokenTree::Literal(Literal::byte_string(text.as_bytes()));
    let mut append = TokenStream::from(TokenTree::Ident(local("out")));
    append.extend([
        punct('.'),
        TokenTree::Ident(local("extend_from_slice")),
        parenthesised(bytes.into()),
        punct(';'),
    ]);
    append
}

/// `(&home::__parts::Argument(arguments.0)).append(out)?;`, or by `format_args!` where it is said how
/// the value is shown.
fn append_argument(home: &Home, place: usize, spec: &str) -> TokenStream {
    let mut value = TokenStream::from(TokenTree::Ident(local("arguments")));
    value.extend([
        punct('.'),
        TokenTree::Literal(Literal::usize_unsuffixed(place)),
    ]);
    let mut shown = TokenStream::new();
    if spec.is_empty() {
        shown.extend([punct('&')]);
        shown.extend(home.path(&["__parts", "Argument"]));
        shown.extend([parenthesised(value)]);
    } else {
        let mut arguments =
            TokenStream::from(TokenTree::Literal(Literal::string(&format!("{{:{spec}}}"))));
        // What stands there, and not a reference to it: `{:p}` shows the difference.
        arguments.extend([punct(','), punct('*')]);
        arguments.extend(value);
        shown.extend(home.path(&["__parts", "Arguments"]));
        let mut format = path(&["core", "format_args"]);
        format.extend([punct('!'), parenthesised(arguments)]);
        shown.extend([parenthesised(format)]);
    }
    let mut append = TokenStream::from(parenthesised(shown));
    append.extend([
        punct('.'),
        TokenTree::Ident(local("append")),
        parenthesised(TokenTree::Ident(local("out")).into()),
        punct('?'),
        punct(';'),
    ]);
    append
}

/// A literal, also one that another macro has handed on.
fn literal(token: &TokenTree) -> Option<Literal> {
    match token {
        TokenTree::Literal(literal) => Some(literal.clone()),
        TokenTree::Group(group) if group.delimiter() == Delimiter::None => {
            let mut inside = group.stream().into_iter();
            match (inside.next(), inside.next()) {
                (Some(token), None) => literal(&token),
                _ => None,
            }
        }
        _ => None,
    }
}

/// `, a, name = b,` as names and values; `None` where a comma may be part of a value.
fn split(tokens: &[TokenTree]) -> Option<Vec<(Option<String>, TokenStream)>> {
    let mut all = Vec::new();
    let is = |token: &TokenTree, what: char| matches!(token, TokenTree::Punct(punct) if punct.as_char() == what);
    let Some((first, rest)) = tokens.split_first() else {
        return Some(all);
    };
    if !is(first, ',') || rest.iter().any(|token| is(token, '<') || is(token, '|')) {
        return None;
    }
    let mut parts: Vec<&[TokenTree]> = rest.split(|token| is(token, ',')).collect();
    if parts.last().is_some_and(|last| last.is_empty()) {
        parts.pop();
    }
    for part in parts {
        let (name, value) = match part {
            [] => return None,
            [TokenTree::Ident(name), TokenTree::Punct(equals), value @ ..]
                if equals.as_char() == '=' && equals.spacing() == Spacing::Alone =>
            {
                (Some(name.to_string()), value)
            }
            value => (None, value),
        };
        if value.is_empty()
            || name.is_none() && all.iter().any(|(name, _): &(Option<_>, _)| name.is_some())
        {
            return None;
        }
        all.push((name, value.iter().cloned().collect()));
    }
    Some(all)
}

/// A name that means nothing where the macro is used.
fn local(name: &str) -> Ident {
    Ident::new(name, Span::mixed_site())
}

fn punct(char: char) -> TokenTree {
    TokenTree::Punct(Punct::new(char, Spacing::Alone))
}

fn joint(char: char) -> TokenTree {
    TokenTree::Punct(Punct::new(char, Spacing::Joint))
}

fn colons() -> [TokenTree; 2] {
    [joint(':'), punct(':')]
}

fn arrow() -> [TokenTree; 2] {
    [joint('-'), punct('>')]
}

/// `::a::b`
fn path(names: &[&str]) -> TokenStream {
    let mut path = TokenStream::new();
    for name in names {
        path.extend(colons());
        path.extend([TokenTree::Ident(local(name))]);
    }
    path
}

fn group(delimiter: Delimiter, inside: TokenStream) -> Group {
    let mut group = Group::new(delimiter, inside);
    group.set_span(Span::mixed_site());
    group
}

fn parenthesised(inside: TokenStream) -> TokenTree {
    TokenTree::Group(group(Delimiter::Parenthesis, inside))
}
