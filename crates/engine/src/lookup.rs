//! Turns what a sequence has said before into guesses of how it goes on (Saxena 2023, "Prompt
//! Lookup Decoding"; LLMA, Yang et al. 2023).
//!
//! Texts that are edited, quoted or filled in repeat long parts of their prompt. Where the last few
//! tokens have stood before, what followed them is guessed to follow again. A step computes the
//! guess together with the token before it, and each row chooses its token as if it were alone: as
//! far as the choices are what was guessed, one step has made several tokens, and they are the very
//! tokens that steps of one row would have made.

use hashbrown::HashMap;

/// Tokens that must have stood together before: fewer stand together by chance.
const GRAM: usize = 3;

/// Most tokens of one guess: with the row before them as many as the kernels compute in one pass
/// over the weights.
pub(crate) const GUESS_MAX: usize = 7;

/// What a guessed row costs, as a share of a step of one row.
pub(crate) const ROW_COST: f32 = 0.25;

/// Steps that an answer may lose with guesses that fail, for each token that it has: 1 %.
const LOSS_RATE: f32 = 0.01;

/// Steps that it may lose beyond that before it has won any.
const LOSS_MAX: f32 = 1.0;

/// Steps won that are kept as credit for guesses that fail later.
const CREDIT_MAX: f32 = 4.0;

/// What a sequence has said, by its ends; and what guesses have brought.
#[derive(Default)]
pub(crate) struct Lookup {
    /// The place behind the latest of each few tokens.
    places: HashMap<[u32; GRAM], u32>,
    /// Tokens that were looked at.
    seen: usize,
    /// Tokens of the next guess.
    length: usize,
    /// Steps won by guesses, less what they cost.
    credit: f32,
}

impl Lookup {
    /// How the tokens may go on, of which `generated` are the answer's: at most `most` tokens, none
    /// where their end has not been there before, or guesses have not been worth their cost.
    pub(crate) fn guess<'t>(
        &mut self,
        tokens: &'t [u32],
        generated: usize,
        most: usize,
    ) -> &'t [u32] {
        // The last few are looked for before they are noted, so that they do not find themselves.
        while self.seen + 1 < tokens.len() {
            self.seen += 1;
            if let Some(gram) = last(&tokens[..self.seen]) {
                self.places.insert(gram, self.seen as u32);
            }
        }
        let place = last(tokens).and_then(|gram| self.places.get(&gram));
        let Some(&place) = place else { return &[] };
        if self.credit < -(LOSS_MAX + LOSS_RATE * generated as f32) {
            return &[];
        }
        let length = self.length.clamp(1, GUESS_MAX).min(most);
        let rest = &tokens[place as usize..];
        &rest[..length.min(rest.len())]
    }

    /// Learns that so many tokens of a guess were right.
    pub(crate) fn learn(&mut self, guessed: usize, right: usize) {
        let won = right as f32 - ROW_COST * guessed as f32;
        self.credit = (self.credit + won).min(CREDIT_MAX);
        self.length = if right == guessed { 2 * guessed } else { right.max(1) };
    }
}

fn last(tokens: &[u32]) -> Option<[u32; GRAM]> {
    tokens.last_chunk().copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_stood_there_is_guessed_to_stand_there_again() {
        let mut lookup = Lookup::default();
        assert_eq!(lookup.guess(&[1, 2, 3], 0, 7), [0; 0]);
        let text = [1, 2, 3, 4, 5, 6, 7, 8, 9, 1, 2, 3];
        assert_eq!(lookup.guess(&text, 1, 7), [4]);
        lookup.learn(1, 1);
        let longer = [&text[..], &[4, 5]].concat();
        assert_eq!(lookup.guess(&longer, 3, 7), [6, 7]);
        lookup.learn(2, 2);
        assert_eq!(lookup.guess(&longer, 3, 7), [6, 7, 8, 9]);
        assert_eq!(lookup.guess(&longer, 3, 3), [6, 7, 8]);
        assert_eq!(lookup.guess(&longer, 3, 0), [0; 0]);
        // The latest place counts, and guesses end where the text does.
        let again = [1, 2, 3, 4, 1, 2, 3, 5, 1, 2, 3];
        lookup = Lookup { length: 7, ..Lookup::default() };
        assert_eq!(lookup.guess(&again, 1, 7), [5, 1, 2, 3]);
    }

    #[test]
    fn repetition_of_one_token_is_guessed_too() {
        let mut lookup = Lookup { length: 4, ..Lookup::default() };
        assert_eq!(lookup.guess(&[9; 4], 1, 7), [9]);
        assert_eq!(Lookup::default().guess(&[9; 3], 1, 7), [0; 0]);
    }

    #[test]
    fn guesses_that_fail_cost_a_bounded_share() {
        let text: Vec<u32> =
            (0..20_000).map(|at| [1, 2, 3, 40 + at % 7][at as usize % 4]).collect();
        let mut lookup = Lookup::default();
        let mut rows = 0;
        for end in 1..text.len() {
            let guess = lookup.guess(&text[..end], end, GUESS_MAX).len();
            rows += guess;
            if guess > 0 {
                lookup.learn(guess, 0);
            }
        }
        let lost = ROW_COST * rows as f32;
        assert!(lost > 10.0, "{lost} of {}", text.len());
        assert!(lost <= LOSS_RATE * text.len() as f32 + LOSS_MAX + 1.0, "{lost}");
    }

    #[test]
    fn guesses_that_are_right_get_longer_and_those_that_fail_shorter() {
        let mut lookup = Lookup::default();
        for (guessed, right, next) in
            [(1, 1, 2), (2, 2, 4), (4, 4, 7), (7, 7, 7), (7, 3, 3), (3, 0, 1)]
        {
            lookup.learn(guessed, right);
            let text: Vec<u32> = (0..20).chain(0..3).collect();
            assert_eq!(lookup.guess(&text, 1, GUESS_MAX).len(), next);
        }
    }
}
