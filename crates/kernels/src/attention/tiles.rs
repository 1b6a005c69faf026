//! Turns the rows of a call into tiles of neighbours, and tiles into the segments they attend to.
//! What neighbouring tiles of several sequences have in common, as behind one system prompt, is a
//! tile of its own, which comes first.

use super::AttentionRow;
use super::segment::SEGMENT_PAGES;
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
    /// The tile of [`Tiles::shared`] that attends to the segments before these.
    pub(super) prefix: Option<usize>,
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
    /// What several of them begin with: all rows of these, and whole segments. They end before the
    /// first row of each does.
    pub(super) shared: Vec<Tile>,
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

    /// The pages of the segments that all of its rows see whole, if they are the sequence's first.
    fn whole_pages<'a>(&self, rows: &[AttentionRow<'a>]) -> &'a [u32] {
        match self.places {
            Places::From(0) => {
                let segments = self.position / SEGMENT_TOKENS;
                &rows[self.first_row].pages[..segments * SEGMENT_PAGES]
            }
            _ => &[],
        }
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
                segments_before: 0,
                prefix: None,
                places,
            };
            if let Some(last) = self.tiles.last_mut()
                && rows[index - 1].pages == row.pages
                && last.take(&tile, tile_rows)
            {
                continue;
            }
            self.tiles.push(tile);
        }
        self.shared.clear();
        // What a window shuts out differs from position to position.
        if window.is_none() {
            self.share(rows, tile_rows);
        }
        number(&mut self.shared);
        number(&mut self.tiles);
    }

    /// Moves what neighbours have in common to a tile of its own.
    fn share(&mut self, rows: &[AttentionRow<'_>], tile_rows: usize) {
        let mut first = 0;
        while first < self.tiles.len() {
            let (count, segments) = alike(&self.tiles[first..], rows, tile_rows);
            if count > 1 {
                let (prefix, tiles) = (self.shared.len(), &mut self.tiles[first..first + count]);
                self.shared.push(Tile {
                    rows: tiles.iter().map(|tile| tile.rows).sum(),
                    position: segments * SEGMENT_TOKENS - 1,
                    step: 0,
                    segments,
                    ..tiles[0]
                });
                for tile in tiles {
                    tile.segments -= segments;
                    tile.places = Places::From(segments);
                    tile.prefix = Some(prefix);
                }
            }
            first += count;
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

/// How many tiles, from the first on, are best taken together, at most `tile_rows` rows, and how
/// many segments they have in common.
fn alike(tiles: &[Tile], rows: &[AttentionRow<'_>], tile_rows: usize) -> (usize, usize) {
    let mut common = tiles[0].whole_pages(rows);
    let (mut count, mut taken) = (1, tiles[0].rows);
    for tile in &tiles[1..] {
        let pages = common.iter().zip(tile.whole_pages(rows)).take_while(|(a, b)| a == b).count();
        let pages = pages / SEGMENT_PAGES * SEGMENT_PAGES;
        // One more would be spared `pages`, those before it no longer what they have more.
        let is_worth_it = pages > 0 && pages * count >= common.len() * (count - 1);
        if !is_worth_it || taken + tile.rows > tile_rows {
            break;
        }
        (common, count, taken) = (&common[..pages], count + 1, taken + tile.rows);
    }
    (count, common.len() / SEGMENT_PAGES)
}

/// Notes how many segments come before each tile.
fn number(tiles: &mut [Tile]) {
    let mut before = 0;
    for tile in tiles {
        tile.segments_before = before;
        before += tile.segments;
    }
}

/// The first position that a row at `position` sees.
fn first_seen(position: usize, window: Option<usize>) -> usize {
    window.map_or(0, |window| (position + 1).saturating_sub(window))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Cuts rows of (page table, position) and gives the shared tiles' first rows, rows and
    /// segments, and the segments that are left to each tile.
    fn cut(rows: &[(&[u32], u32)], window: Option<usize>) -> (Vec<[usize; 3]>, Vec<usize>) {
        let row = |&(pages, position)| AttentionRow { pages, position, selection: None };
        let rows: Vec<AttentionRow<'_>> = rows.iter().map(row).collect();
        let mut tiles = Tiles::default();
        tiles.cut(&rows, 16, window);
        let shared = tiles.shared.iter().map(|tile| [tile.first_row, tile.rows, tile.segments]);
        (shared.collect(), tiles.tiles.iter().map(|tile| tile.segments).collect())
    }

    /// A page table of 64 pages, of which `shared` are everyone's.
    fn pages(shared: u32, own: u32) -> Vec<u32> {
        (0..64).map(|page| if page < shared { page } else { 100 * own + page }).collect()
    }

    #[test]
    fn whole_segments_that_neighbours_share_are_taken_once() {
        let all: Vec<Vec<u32>> =
            [32, 31, 0, 32, 32].iter().zip(1..).map(|(&n, i)| pages(n, i)).collect();
        let rows: Vec<(&[u32], u32)> = all.iter().map(|pages| (&pages[..], 1100)).collect();
        let expected = (vec![[0, 2, 3], [3, 2, 4]], vec![2, 2, 5, 1, 1]);
        assert_eq!(cut(&rows, None), expected);
        assert_eq!(cut(&rows, Some(2000)), (vec![], vec![5; 5]), "windows shut out what differs");
    }

    #[test]
    fn a_row_keeps_a_segment_of_its_own() {
        let (one, other) = (pages(64, 1), pages(64, 2));
        let at = |position| cut(&[(&one[..], position), (&other[..], 600)], None);
        assert_eq!(at(255), (vec![], vec![1, 3]));
        assert_eq!(at(256), (vec![[0, 2, 1]], vec![1, 2]));
        assert_eq!(at(511), (vec![[0, 2, 1]], vec![1, 2]));
        assert_eq!(at(2047), (vec![[0, 2, 2]], vec![6, 1]));
    }

    #[test]
    fn much_in_common_is_not_given_up_for_little() {
        let all = [pages(40, 0), pages(40, 1), pages(8, 2), pages(8, 3)];
        let rows: Vec<(&[u32], u32)> = all.iter().map(|pages| (&pages[..], 2000)).collect();
        assert_eq!(cut(&rows, None).0, [[0, 2, 5], [2, 2, 1]]);
    }

    #[test]
    fn no_more_rows_are_taken_than_a_tile_holds() {
        let table = pages(64, 0);
        let rows = vec![(&table[..], 1000); 40];
        // Rows at one position are one tile of sixteen at most, as in a text that is read in both
        // directions; these are different sequences.
        let own: Vec<Vec<u32>> = (0..40).map(|own| pages(16, own)).collect();
        let apart: Vec<(&[u32], u32)> = own.iter().map(|pages| (&pages[..], 1000)).collect();
        assert_eq!(cut(&apart, None).0, [[0, 16, 2], [16, 16, 2], [32, 8, 2]]);
        assert_eq!(cut(&rows, None), (vec![], vec![4; 3]));
    }
}
