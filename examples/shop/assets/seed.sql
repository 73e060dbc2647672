-- Run once, when the product table is empty.
INSERT INTO product (id, slug, name, price, summary, story) VALUES
(1, 'rope', 'Mooring rope, 20 m', 5900, 'Three strands, spliced by hand.',
 'Twenty metres of polyester rope that keeps its softness after years of salt. One end is spliced into an eye, the other is whipped. It will hold more than your boat deserves.'),
(2, 'lantern', 'Storm lantern', 7450, 'Burns eighteen hours on one filling.',
 'Galvanised steel, a globe of thick glass and a wick that does not mind the wind. It smells of holidays and works when nothing else does.'),
(3, 'compass', 'Pocket compass', 3900, 'Brass, and it needs no battery.',
 'A needle on a sapphire bearing in a case that closes with a click. It points the same way every day, which is more than can be said of most things.'),
(4, 'mug', 'Enamel mug', 1600, 'Half a litre of anything warm.',
 'Steel, enamelled twice, with a rim that darkens with age. Drop it and it chips; it will not break.'),
(5, 'bag', 'Canvas sea bag', 8800, 'Forty litres, waxed, closed by a rope.',
 'Sewn of waxed cotton with a flat bottom so that it stands by itself. Everything you need lies at the bottom, as with all such bags.'),
(6, 'jersey', 'Fisherman''s jersey', 12900, 'Wool, knitted tight enough for spray.',
 'The pattern is the same front and back, so it can be put on in the dark. Untreated wool, undyed, and good for twenty winters.'),
(7, 'bell', 'Brass ship''s bell', 9900, 'Loud. Ask the neighbours.',
 'Cast brass, fifteen centimetres across, with a bracket and a plaited lanyard. One stroke for half past, two for the hour, many for fog.'),
(8, 'book', 'The small book of knots', 2200, 'Thirty knots, and when not to use them.',
 'A hundred and twelve pages that stay open on a wet table. Every knot is drawn in three steps, with the mistake that everybody makes beside it.');
INSERT INTO feedback (product, name, rating, message, at, reference) VALUES
(1, 'Ines', 5, 'Holds a nine metre boat through two gales so far. The splice is a beauty.', '2026-03-14T09:12:00Z', 'seeded'),
(3, 'Tomasz', 4, 'Points north. The lid could close a little softer.', '2026-04-02T17:40:21Z', 'seeded'),
(4, 'Lin', 5, 'Bought one, then five more, because guests kept taking it home.', '2026-05-21T06:03:55Z', 'seeded'),
(8, 'Maren', 5, 'My daughter now ties everything to everything.', '2026-06-30T19:25:10Z', 'seeded'),
(NULL, 'Oke', 4, 'Parcel arrived in two days and tied with a proper knot.', '2026-07-08T11:00:00Z', 'seeded');
