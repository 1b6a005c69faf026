//! Turns the rows of a call into tiles of neighbours, and tiles into the segments they attend to.

use super::AttentionRow;
use super::tokens::{SEGMENT_TOKENS, TokenSet};
use std::ops::Range;

/// Neighbouring rows of one sequence that are attended to together, at most `tile_rows`: at
/// consecutive positions, all inside one stretch of so many whose first and last segments are the
/// same, or all at one position.
#[derive(Clone, Copy)]
pub(super) struct Tile {
    pub(super) first_row: usize,
    pub(super) rows: usize,
    /// Position of the first row.
    pub(super) position: usize,
    /// From the position of one row to that of the next: 1 or 0.
    pub(super) step: usize,
    /// Segments that have something to attend to.
    pub(super) segments: usize,
    /// Segments of all tiles before.
    pub(super) segments_before: usize,
    places: Places,
}

/// Which segments of its sequence those of a tile are.
#[derive(Clone, Copy)]
enum Places {
    /// From this one on, one after the other.
    From(usize),
    /// From this place on in [`Tiles::chosen`]; the tile has one row.
    Chosen(usize),
}

/// A segment in which a row attends to chosen tokens alone.
struct Chosen {
    segment: usize,
    tokens: TokenSet,
}

/// The tiles of a call.
#[derive(Default)]
pub(super) struct Tiles {
    pub(super) tiles: Vec<Tile>,
    chosen: Vec<Chosen>,
}

impl Tile {
    /// Position of the last row.
    pub(super) fn last_position(&self) -> usize {
        self.position + (self.rows - 1) * self.step
    }

    /// Takes the row of `next`, a tile of its own, in, if it goes on here.
    fn take(&mut self, next: &Tile, tile_rows: usize) -> bool {
        let (Places::From(own), Places::From(its)) = (self.places, next.places) else {
            return false;
        };
        let step = next.position.wrapping_sub(self.last_position());
        let goes_on = match step {
            0 => self.rows < tile_rows,
            1 => !next.position.is_multiple_of(tile_rows),
            _ => false,
        };
        if own != its || !goes_on || (self.rows > 1 && step != self.step) {
            return false;
        }
        (self.rows, self.step) = (self.rows + 1, step);
        true
    }
}

impl Tiles {
    /// Neighbouring rows with consecutive positions of one sequence, cut at multiples of
    /// `tile_rows` and where the window leaves a segment, or with one position, cut after
    /// `tile_rows` rows. A row with a selection is a tile of its own.
    pub(super) fn cut(
        &mut self,
        rows: &[AttentionRow<'_>],
        tile_rows: usize,
        window: Option<usize>,
    ) {
        self.tiles.clear();
        self.chosen.clear();
        let mut segments_before = 0;
        for (index, row) in rows.iter().enumerate() {
            let position = row.position as usize;
            let first = first_seen(position, window) / SEGMENT_TOKENS;
            let (places, segments) = match row.selection {
                Some(selection) => {
                    let places = Places::Chosen(self.chosen.len());
                    (places, self.choose(selection, first_seen(position, window)..position + 1))
                }
                None => (Places::From(first), position / SEGMENT_TOKENS + 1 - first),
            };
            let tile = Tile {
                first_row: index,
                rows: 1,
                position,
                step: 1,
                segments,
                segments_before,
                places,
            };
            if let Some(last) = self.tiles.last_mut()
                && rows[index - 1].pages == row.pages
                && last.take(&tile, tile_rows)
            {
                continue;
            }
            segments_before += tile.segments;
            self.tiles.push(tile);
        }
    }

    /// Notes the segments of those selected positions that are seen, and gives their number.
    fn choose(&mut self, selection: &[u32], seen: Range<usize>) -> usize {
        assert!(selection.is_sorted_by(|a, b| a < b), "the selected positions do not ascend");
        let before = self.chosen.len();
        for position in selection.iter().map(|&position| position as usize) {
            assert!(position < seen.end, "position {position} is selected, before {}", seen.end);
            if position < seen.start {
                continue;
            }
            let (segment, token) = (position / SEGMENT_TOKENS, position % SEGMENT_TOKENS);
            let is_new = match self.chosen[before..].last() {
                Some(last) => last.segment != segment,
                None => true,
            };
            if is_new {
                self.chosen.push(Chosen { segment, tokens: TokenSet::default() });
            }
            self.chosen.last_mut().expect("at least this one").tokens.insert(token);
        }
        assert!(self.chosen.len() > before, "nothing that is seen is selected");
        self.chosen.len() - before
    }

    /// The place in the sequence of a tile's segment, and the tokens in it, if not all.
    pub(super) fn segment(&self, tile: &Tile, index: usize) -> (usize, Option<TokenSet>) {
        match tile.places {
            Places::From(first) => (first + index, None),
            Places::Chosen(first) => {
                let Chosen { segment, tokens } = self.chosen[first + index];
                (segment, Some(tokens))
            }
        }
    }
}

/// The first position that a row at `position` sees.
fn first_seen(position: usize, window: Option<usize>) -> usize {
    window.map_or(0, |window| (position + 1).saturating_sub(window))
}
