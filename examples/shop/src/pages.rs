//! Every page of the shop: data in, HTML out. Nothing here reads or writes anything.

use std::fmt;

use crate::drawings::drawing;
use crate::html::Html;
use crate::store::{Feedback, Product};
use crate::uploads::Upload;

/// What a visitor typed into the feedback form, unchecked; shown again when it is refused, so that
/// nobody has to write it twice.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Typed {
    pub(crate) product: String,
    pub(crate) name: String,
    pub(crate) mail: String,
    pub(crate) rating: String,
    pub(crate) message: String,
}

/// Cents as a price.
struct Price(i64);

impl fmt::Display for Price {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "€ {}.{:02}", self.0 / 100, self.0 % 100)
    }
}

/// Bytes for people (decimal units).
struct Bytes(u64);

impl fmt::Display for Bytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            n if n < 1000 => write!(f, "{n} B"),
            n if n < 1_000_000 => write!(f, "{}.{} kB", n / 1000, n % 1000 / 100),
            n => write!(f, "{}.{} MB", n / 1_000_000, n % 1_000_000 / 100_000),
        }
    }
}

/// The frame of every page.
fn frame(title: &str, body: impl FnOnce(&mut Html)) -> String {
    let mut html = Html::new();
    html.raw("<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">")
        .raw("<meta name=\"viewport\" content=\"width=device-width,initial-scale=1\">")
        .raw("<link rel=\"icon\" href=\"data:,\"><title>")
        .text(title)
        .raw(" · Harbour &amp; Line</title>\n<style>")
        .raw(include_str!("../assets/style.css"))
        .raw("</style></head>\n<body><header><a class=\"brand\" href=\"/\">Harbour &amp; Line</a> ")
        .raw("<nav><a href=\"/\">Shop</a> <a href=\"/feedback\">Feedback</a> ")
        .raw("<a href=\"/uploads\">Uploads</a></nav></header>\n<main>\n");
    body(&mut html);
    html.raw("\n</main>\n<footer>Harbour &amp; Line sells nothing: ")
        .raw("it is the example that mainstay is tried on.</footer></body></html>\n");
    html.finish()
}

fn picture(html: &mut Html, slug: &str) {
    html.raw("<svg class=\"pic\" viewBox=\"0 0 120 120\" aria-hidden=\"true\"><g fill=\"none\" ")
        .raw("stroke=\"currentColor\" stroke-width=\"2\" stroke-linecap=\"round\" ")
        .raw("stroke-linejoin=\"round\">")
        .raw(drawing(slug))
        .raw("</g></svg>");
}

/// `/`: all products.
pub(crate) fn home(products: &[Product]) -> String {
    frame("Shop", |html| {
        html.raw("<h1>Things that hold</h1>\n<p class=\"lead\">Eight useful things for boats, ")
            .raw("quays and kitchens, made by people who had to use them.</p>\n<ul class=\"grid\">")
            .each(products, |html, product| {
                html.raw("\n<li class=\"card\"><a href=\"/product/")
                    .text(product.id)
                    .raw("\">");
                picture(html, &product.slug);
                html.raw("<div><h3>").text(&product.name).raw("</h3><p>");
                html.text(&product.summary)
                    .raw("</p><span class=\"price\">");
                html.text(Price(product.price))
                    .raw("</span></div></a></li>");
            })
            .raw("\n</ul>");
    })
}

/// `/product/{id}`: one product and what was said about it.
pub(crate) fn product(product: &Product, said: &[Feedback]) -> String {
    frame(&product.name, |html| {
        html.raw("<div class=\"two\"><div>");
        picture(html, &product.slug);
        html.raw("</div><div><h1>")
            .text(&product.name)
            .raw("</h1>\n<p class=\"lead\">");
        html.text(&product.summary)
            .raw("</p>\n<p>")
            .text(&product.story);
        html.raw("</p>\n<p class=\"price\">")
            .text(Price(product.price))
            .raw("</p></div></div>");
        html.raw("\n<h2 id=\"feedback\">What people say</h2>\n");
        says(html, said, false);
        html.raw("\n<h2>Say something</h2>\n");
        let typed = Typed {
            product: product.id.to_string(),
            ..Typed::default()
        };
        form(html, &typed, None);
    })
}

/// `/feedback`: everything that was said, and the form for the shop as a whole.
pub(crate) fn feedback(said: &[Feedback]) -> String {
    frame("Feedback", |html| {
        html.raw("<h1 id=\"feedback\">Feedback</h1>\n<p class=\"lead\">Newest first. Each is ")
            .raw("kept here and at our partner, or at neither.</p>\n");
        says(html, said, true);
        html.raw("\n<h2>Tell us about the shop</h2>\n");
        form(html, &Typed::default(), None);
    })
}

/// The answer to feedback that was refused: what is wrong, and the form with what was typed.
pub(crate) fn feedback_again(typed: &Typed, problem: &str) -> String {
    frame("Feedback", |html| {
        html.raw("<h1>Not quite</h1>\n");
        form(html, typed, Some(problem));
    })
}

fn says(html: &mut Html, said: &[Feedback], with_product: bool) {
    if said.is_empty() {
        html.raw("<p class=\"lead\">Nothing yet.</p>");
        return;
    }
    html.raw("<ul class=\"says\">").each(said, |html, one| {
        html.raw("\n<li id=\"f")
            .text(one.id)
            .raw("\"><strong>")
            .text(&one.name);
        html.raw("</strong> <span class=\"stars\" title=\"")
            .text(one.rating)
            .raw(" of 5\">");
        for star in 1..=5 {
            html.raw(if star <= one.rating { "★" } else { "☆" });
        }
        html.raw("</span> <span class=\"meta\">");
        if let (true, Some((id, name))) = (with_product, &one.product) {
            html.raw("on <a href=\"/product/")
                .text(id)
                .raw("\">")
                .text(name)
                .raw("</a> ");
        }
        html.text(&one.at)
            .raw("</span> <span class=\"badge sent\" title=\"")
            .text(&one.reference)
            .raw("\">sent</span><p>");
        html.text(&one.message).raw("</p></li>");
    });
    html.raw("\n</ul>");
}

fn form(html: &mut Html, typed: &Typed, problem: Option<&str>) {
    if let Some(problem) = problem {
        html.raw("<p class=\"error\">").text(problem).raw("</p>\n");
    }
    html.raw("<form method=\"post\" action=\"/feedback\">");
    html.raw("<input type=\"hidden\" name=\"product\" value=\"")
        .text(&typed.product)
        .raw("\">");
    html.raw("<label>Your name (may stay empty)<input name=\"name\" maxlength=\"80\" value=\"");
    html.text(&typed.name)
        .raw("\"></label>\n<label>Your mail address, for our thanks (may stay empty)");
    html.raw("<input name=\"mail\" type=\"email\" maxlength=\"200\" value=\"")
        .text(&typed.mail)
        .raw("\"></label>\n<label>Rating<select name=\"rating\">");
    for (value, words) in [
        ("5", "5 – splendid"),
        ("4", "4 – good"),
        ("3", "3 – fair"),
        ("2", "2 – poor"),
        ("1", "1 – no"),
    ] {
        html.raw("<option value=\"").raw(value).raw("\"");
        html.raw(if typed.rating == value {
            " selected>"
        } else {
            ">"
        })
        .raw(words)
        .raw("</option>");
    }
    html.raw("</select></label>\n<label>Message<textarea name=\"message\" rows=\"4\" required ");
    // The line break after the tag is not part of the value, but one typed by the visitor is.
    html.raw("maxlength=\"4000\">\n")
        .text(&typed.message)
        .raw("</textarea></label>\n");
    html.raw("<button>Send</button></form>");
}

/// `/uploads`: the files that are there, and the form for another.
pub(crate) fn uploads(files: &[Upload], limit: u64, problem: Option<&str>) -> String {
    frame("Uploads", |html| {
        html.raw("<h1>Uploads</h1>\n<p class=\"lead\">Pictures of your knots, for example. ")
            .raw("Everybody can see them.</p>\n");
        if let Some(problem) = problem {
            html.raw("<p class=\"error\">").text(problem).raw("</p>\n");
        }
        if files.is_empty() {
            html.raw("<p class=\"lead\">Nothing yet.</p>");
        } else {
            html.raw("<table><tr><th>File</th><th>Size</th><th>Since</th></tr>")
                .each(files, |html, file| {
                    html.raw("\n<tr><td><a href=\"/uploads/")
                        .segment(&file.name)
                        .raw("\">");
                    html.text(&file.name)
                        .raw("</a></td><td class=\"n\">")
                        .text(Bytes(file.size));
                    html.raw("</td><td class=\"n\">")
                        .text(&file.at)
                        .raw("</td></tr>");
                })
                .raw("\n</table>");
        }
        html.raw("\n<h2>Add one</h2>\n<form method=\"post\" action=\"/uploads\" ")
            .raw("enctype=\"multipart/form-data\"><label>A file of at most ")
            .text(Bytes(limit))
            .raw("<input type=\"file\" name=\"file\" required></label>\n")
            .raw("<button>Upload</button></form>");
    })
}

#[cfg(test)]
mod tests {
    use super::{Bytes, Price, Typed, feedback, feedback_again, home, product, uploads};
    use crate::store::{Feedback, Product};
    use crate::uploads::Upload;

    const EVIL: &str = "\"'><script>alert(1)</script>&";

    fn ware(text: &str) -> Product {
        Product {
            id: 7,
            slug: text.into(),
            name: text.into(),
            price: 12_905,
            summary: text.into(),
            story: text.into(),
        }
    }

    fn said(text: &str) -> Feedback {
        Feedback {
            id: 1,
            product: Some((7, text.into())),
            name: text.into(),
            rating: 3,
            message: text.into(),
            at: text.into(),
            reference: text.into(),
        }
    }

    fn every_page(text: &str) -> Vec<(&'static str, String)> {
        let typed = Typed {
            product: text.into(),
            name: text.into(),
            mail: text.into(),
            rating: text.into(),
            message: text.into(),
        };
        let file = Upload {
            name: text.into(),
            size: 5,
            at: text.into(),
        };
        let one = [said(text)];
        vec![
            ("home", home(&[ware(text)])),
            ("product", product(&ware(text), &one)),
            ("feedback", feedback(&one)),
            ("feedback again", feedback_again(&typed, text)),
            ("uploads", uploads(&[file], 1, Some(text))),
        ]
    }

    #[test]
    fn no_page_lets_markup_through() {
        for (page, html) in every_page(EVIL) {
            assert!(!html.contains("<script"), "{page}: {html}");
            assert!(!html.contains("'><"), "{page}: {html}");
            assert!(
                html.contains("&lt;script&gt;"),
                "{page} does not show the text: {html}"
            );
        }
    }

    #[test]
    fn every_element_is_closed() {
        for (page, html) in every_page("plain") {
            let mut open: Vec<&str> = Vec::new();
            for tag in html.split('<').skip(1) {
                let Some((tag, _)) = tag.split_once('>') else {
                    panic!("{page}: <{tag}")
                };
                let name = tag.split([' ', '\n']).next().unwrap_or_default();
                if let Some(closing) = name.strip_prefix('/') {
                    assert_eq!(open.pop(), Some(closing), "{page}");
                } else if !["!doctype", "meta", "link", "input"].contains(&name)
                    && !tag.ends_with('/')
                {
                    open.push(name);
                }
            }
            assert_eq!(open, Vec::<&str>::new(), "{page}");
        }
    }

    #[test]
    fn pages_show_what_they_are_given() {
        let html = product(&ware("Bell"), &[said("Loud")]);
        for want in [
            "<h1>Bell</h1>",
            "€ 129.05",
            "★★★☆☆",
            "badge sent",
            "value=\"7\"",
            "Loud",
        ] {
            assert!(html.contains(want), "{want} is missing in {html}");
        }
        assert!(product(&ware("Bell"), &[]).contains("Nothing yet"));
        assert!(home(&[ware("Bell")]).contains("href=\"/product/7\""));
        let typed = Typed {
            rating: "2".into(),
            message: "\nkept".into(),
            ..Typed::default()
        };
        let again = feedback_again(&typed, "too short");
        assert!(again.contains("<option value=\"2\" selected>"), "{again}");
        assert!(again.contains(">\n\nkept</textarea>"), "{again}");
    }

    #[test]
    fn numbers_read_well() {
        for (cents, want) in [(0, "€ 0.00"), (5, "€ 0.05"), (12_900, "€ 129.00")] {
            assert_eq!(Price(cents).to_string(), want);
        }
        for (bytes, want) in [
            (0, "0 B"),
            (999, "999 B"),
            (1500, "1.5 kB"),
            (10_000_000, "10.0 MB"),
        ] {
            assert_eq!(Bytes(bytes).to_string(), want);
        }
    }
}
