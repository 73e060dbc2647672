//! The pictures of the products: a few strokes of SVG each, in the colour of the page, so that the
//! shop needs no image files.

/// The drawing of a product, by its slug; a plain anchor for a product that has none.
pub(crate) fn drawing(slug: &str) -> &'static str {
    match slug {
        "rope" => concat!(
            "<path d='M60 34a26 26 0 1 1 0 52 26 26 0 1 1 0-52zM60 44a16 16 0 1 1 0 32 16 16 0 1 1 0-32z'/>",
            "<path d='M84 70c10 2 18 8 26 22M78 79c10 3 17 9 24 20M42 40l6 8M36 60h9M44 78l7-6M60 86v-10M78 76l-7-6M86 60h-10M76 41l-5 8M60 34v10'/>"
        ),
        "lantern" => concat!(
            "<path d='M46 52h28l5 30H41zM44 82h32v10H44zM50 44h20l4 8H46zM40 52c0-40 40-40 40 0'/>",
            "<path d='M60 76c-7-4-6-10 0-17 6 7 7 13 0 17z'/>"
        ),
        "compass" => concat!(
            "<circle cx='60' cy='64' r='30'/><circle cx='60' cy='64' r='24'/><path d='M54 34v-8h12v8'/>",
            "<path d='M60 44l6 20-6 20-6-20zM54 64h12M60 40v3M60 85v3M36 64h3M81 64h3'/>"
        ),
        "mug" => concat!(
            "<path d='M38 46h38v40a6 6 0 0 1-6 6H44a6 6 0 0 1-6-6zM36 46h42M76 54h8a8 8 0 0 1 8 8v6a8 8 0 0 1-8 8h-8'/>",
            "<path d='M50 38c-4-6 4-8 0-14M62 38c-4-6 4-8 0-14'/>"
        ),
        "bag" => concat!(
            "<path d='M42 44h36l6 46a6 6 0 0 1-6 6H42a6 6 0 0 1-6-6zM42 44c4-4 6-8 6-14h24c0 6 2 10 6 14M50 36h20'/>",
            "<path d='M70 36c14 2 22 20 16 52M46 62h28'/>"
        ),
        "jersey" => concat!(
            "<path d='M48 34l-20 12 8 20 8-4v32h32V62l8 4 8-20-20-12c-4 8-20 8-24 0z'/>",
            "<path d='M44 70h32M44 76l5-4 6 4 5-4 6 4 5-4 5 4M44 82h32M44 88h32'/>"
        ),
        "bell" => concat!(
            "<path d='M60 36c16 0 18 14 19 26 1 10 5 14 9 20H32c4-6 8-10 9-20 1-12 3-26 19-26zM60 36v-8M50 28h20'/>",
            "<path d='M60 82v8M60 90a4 4 0 1 1 0 8 4 4 0 1 1 0-8zM38 74h44'/>"
        ),
        "book" => concat!(
            "<path d='M36 34h42a6 6 0 0 1 6 6v52H42a6 6 0 0 1-6-6zM36 86a6 6 0 0 1 6-6h42'/>",
            "<path d='M50 56c0-10 20-10 20 0s-20 6-20 14 20 8 20-2'/>"
        ),
        _ => {
            "<path d='M60 44v44M46 56h28M36 74c4 12 14 16 24 16s20-4 24-16M60 44a6 6 0 1 1 0-12 6 6 0 1 1 0 12z'/>"
        }
    }
}

#[cfg(test)]
mod tests {
    use super::drawing;

    #[test]
    fn every_seeded_product_has_its_own_drawing() {
        let mut seen = vec![drawing("no such thing")];
        for slug in [
            "rope", "lantern", "compass", "mug", "bag", "jersey", "bell", "book",
        ] {
            assert!(
                !seen.contains(&drawing(slug)),
                "{slug} has no drawing of its own"
            );
            seen.push(drawing(slug));
        }
    }
}
