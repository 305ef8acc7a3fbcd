//! Where to cut a range of keys: keys are taken as fractions, and how close they lie is told by a page of them.

/// So many characters of a key decide; with 127 letters they fit into a `u128`.
const WIDTH: usize = 16;
const LETTERS: usize = 127;
/// So many characters of a key are learned.
const PLACES: usize = 256;
/// Characters before the place where the keys of a page begin to differ: the next ones may differ there too.
const HEADROOM: usize = 4;

/// The characters that keys are made of, in order, by their place in the key: keys often have one form.
#[derive(Clone, Debug, Default)]
pub(super) struct Letters(Vec<Vec<char>>);

/// How close keys lie: the first and the last key of so many pages.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Density {
    pub(super) first: String,
    pub(super) last: String,
    pub(super) pages: f64,
}

/// A place to cut at.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Cut {
    pub(super) key: String,
    /// Pages of the whole range, as far as can be told; none when it has no end.
    pub(super) pages: Option<f64>,
}

impl Letters {
    pub(super) fn learn(&mut self, key: &str) {
        for (place, letter) in key.chars().take(PLACES).enumerate() {
            if self.0.len() <= place {
                self.0.push(Vec::new());
            }
            if self.at(place).binary_search(&letter).is_err() {
                alike(letter).for_each(|letter| self.add(place, letter));
            }
        }
    }

    fn add(&mut self, place: usize, letter: char) {
        if let Some(letters) = self.0.get_mut(place)
            && let Err(at) = letters.binary_search(&letter)
            && letters.len() < LETTERS
        {
            letters.insert(at, letter);
        }
    }

    fn at(&self, place: usize) -> &[char] {
        self.0.get(place).map_or(&[], Vec::as_slice)
    }

    /// A key between `after` and `until`, about so many pages after `after`, but at most in the middle. It begins with
    /// the first `prefix` bytes of `after`.
    pub(super) fn cut(
        &self,
        prefix: usize,
        density: &Density,
        (after, until): (&str, Option<&str>),
        pages: f64,
    ) -> Option<Cut> {
        let differ = common(&density.first, &density.last).min(common(after, &density.last));
        let frame = back(after, differ, HEADROOM).max(prefix);
        let begin = after.get(..frame)?;
        let place = begin.chars().count();
        let number = |key: &str| match key.get(..frame) {
            Some(start) if start == begin => self.number(place, &key[frame..]),
            // What lies outside the frame lies beyond its end; it is no smaller than `after`.
            Some(_) | None => self.beyond(place),
        };
        let span = number(&density.last).checked_sub(number(&density.first)).filter(|span| *span > 0)?;
        let (from, to) = (number(after), until.map_or_else(|| self.beyond(place), number));
        let room = to.checked_sub(from)?;
        #[expect(clippy::cast_precision_loss, reason = "it is a guess anyway")]
        let (span, room) = (span as f64 / density.pages, room as f64);
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "it is less than the room")]
        let step = (span * pages).min(room / 2.0) as u128;
        let key = self.key((begin, place), from.checked_add(step)?, (after, until))?;
        let bounded = until.is_some_and(|until| until.starts_with(begin));
        Some(Cut { key, pages: bounded.then_some(room / span) })
    }

    fn base(&self, place: usize) -> u128 {
        self.at(place).len() as u128 + 1
    }

    /// Larger than any number of a key from this place on.
    fn beyond(&self, place: usize) -> u128 {
        (place..place + WIDTH).map(|place| self.base(place)).product()
    }

    /// The first characters from a place on as digits; the end of the key is the smallest of them.
    fn number(&self, place: usize, key: &str) -> u128 {
        let mut letters = key.chars();
        (place..place + WIDTH).fold(0, |number, place| {
            let digit = letters.next().map_or(0, |letter| self.at(place).partition_point(|known| *known <= letter));
            number * self.base(place) + digit as u128
        })
    }

    /// The shortest key for about this number that lies between the bounds.
    fn key(&self, (begin, place): (&str, usize), number: u128, (after, until): (&str, Option<&str>)) -> Option<String> {
        let mut key = begin.to_owned();
        let mut unit = self.beyond(place);
        let from = self.number(place, &after[begin.len()..]);
        for place in place..place + WIDTH {
            unit /= self.base(place);
            let digit = usize::try_from(number / unit % self.base(place)).ok()?;
            // Where the key could as well end, the smallest letter is close to it.
            key.push(*self.at(place).get(digit.saturating_sub(1))?);
            // Close enough, compared with how far it is from the begin.
            let exact = unit <= number.saturating_sub(from) / 4;
            let between = key.as_str() > after && until.is_none_or(|until| key.as_str() < until);
            if exact && between {
                return Some(key);
            }
        }
        None
    }
}

/// The characters that are likely where this one is.
fn alike(letter: char) -> impl Iterator<Item = char> {
    match letter {
        '0'..='9' => '0'..='9',
        'a'..='f' => 'a'..='f',
        'g'..='z' => 'a'..='z',
        'A'..='F' => 'A'..='F',
        'G'..='Z' => 'A'..='Z',
        other => other..=other,
    }
}

/// How many bytes two keys have in common, as whole characters.
fn common(a: &str, b: &str) -> usize {
    let same = a.chars().zip(b.chars()).take_while(|(a, b)| a == b);
    same.map(|(letter, _)| letter.len_utf8()).sum()
}

/// So many characters before a place.
fn back(key: &str, at: usize, letters: usize) -> usize {
    key.get(..at).and_then(|begin| begin.char_indices().rev().nth(letters.checked_sub(1)?)).map_or(0, |(at, _)| at)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn letters(keys: &[&str]) -> Letters {
        let mut letters = Letters::default();
        for key in keys {
            letters.learn(key);
        }
        letters
    }

    fn density(first: &str, last: &str) -> Density {
        Density { first: first.into(), last: last.into(), pages: 1.0 }
    }

    #[test]
    fn a_cut_lies_about_so_many_pages_ahead() {
        let letters = letters(&["k000000", "k000999"]);
        let page = density("k000000", "k000999");
        let cut = letters.cut(0, &page, ("k000999", None), 8.0).unwrap();
        assert!(("k007".."k011").contains(&cut.key.as_str()), "{cut:?}");
        assert_eq!(cut.pages, None);
        let cut = letters.cut(0, &page, ("k000999", Some("k005")), 8.0).unwrap();
        assert!(("k0025".."k0035").contains(&cut.key.as_str()), "{cut:?}");
        assert!((3.0..6.0).contains(&cut.pages.unwrap()), "{cut:?}");
    }

    #[test]
    fn a_cut_goes_on_into_the_next_folder() {
        let letters = letters(&["2026/01/a", "2026/01/m"]);
        let page = density("2026/01/a", "2026/01/m");
        let cut = letters.cut(0, &page, ("2026/01/m", None), 4.0).unwrap();
        assert!(cut.key.as_str() > "2026/01/m", "{cut:?}");
    }

    #[test]
    fn a_cut_is_made_of_what_keys_have_at_its_place() {
        let letters = letters(&["invoices/000/000000000.pdf", "invoices/000/000000333.pdf"]);
        let page = density("invoices/000/000000000.pdf", "invoices/000/000000333.pdf");
        for from in ["invoices/000/000000333.pdf", "invoices/000/000009900.pdf", "invoices/000/000099800.pdf"] {
            let cut = letters.cut(0, &page, (from, None), 3.0).unwrap().key;
            assert!(cut.strip_prefix("invoices/000/").unwrap().bytes().all(|b| b.is_ascii_digit()), "{cut}");
        }
    }

    #[test]
    fn where_nothing_is_known_nothing_is_cut() {
        assert_eq!(Letters::default().cut(0, &density("a", "a"), ("a", None), 8.0), None);
        assert_eq!(letters(&["a"]).cut(0, &density("a", "a"), ("a", None), 8.0), None);
        assert_eq!(letters(&["ab"]).cut(1, &density("a", "b"), ("a", Some("a")), 8.0), None);
    }

    proptest! {
        #[test]
        fn a_cut_lies_between_its_bounds_and_under_the_prefix(
            mut keys in proptest::collection::btree_set("p/[ab/é🦀]{0,20}", 4), seen in "[a-d/é🦀\u{ffff}]{1,9}",
            pages in 0.1_f64..1e9, end in any::<bool>(),
        ) {
            let [first, last, after, until] = std::array::from_fn(|_| keys.pop_first().unwrap_or_default());
            let letters = letters(&[&first, &last, &seen]);
            let until = end.then_some(until.as_str());
            if let Some(cut) = letters.cut(2, &density(&first, &last), (&after, until), pages) {
                prop_assert!(cut.key > after && until.is_none_or(|until| cut.key.as_str() < until));
                prop_assert!(cut.key.starts_with("p/"));
            }
        }
    }
}
