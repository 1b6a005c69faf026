//! Turns votes between models into ratings with error bars, after Bradley and Terry.
//!
//! Each model has a strength; that one is found better than another has the probability
//! `1 / (1 + exp(other - own))` (Bradley and Terry, "Rank analysis of incomplete block designs",
//! 1952). A tie is half a win for each. Strengths are the likeliest ones under one further tie of
//! each model with an imagined player of strength 0: so that models without a defeat, and models
//! that were never compared with each other, have a rating at all, and a wide error bar.
//!
//! Error bars are 1.96 standard deviations of the distance to the mean of all models, from the
//! inverse of the Fisher information: only distances between models mean anything, and how far all
//! of them are from the imagined player is not what votes are about. Votes are counted once for
//! each pair, although those of one comparison of four depend on each other.

use std::collections::BTreeMap;

/// Points of a model of strength 0, and points in which ten times the odds are 400: Elo's scale.
const ZERO_POINTS: f64 = 1000.0;
const POINTS: f64 = 400.0 / std::f64::consts::LN_10;

/// Standard deviations to each side that hold 95 %.
const DEVIATIONS: f64 = 1.96;

/// Comparisons below which a rating says little: of two models its error bar is about 60 points
/// then.
pub const FEW: u64 = 30;

/// Steps of Newton's method: it doubles its digits each time.
const STEPS_MAX: usize = 100;

/// What was thought of the answers of one comparison.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The one at this place is better than all others.
    Better(usize),
    /// All are equally good.
    Tie,
    /// None is of use, which says nothing about who is better.
    Bad,
}

/// Where a model stands.
#[derive(Clone, Debug, PartialEq)]
pub struct Standing {
    pub model: String,
    pub comparisons: u64,
    pub wins: u64,
    pub ties: u64,
    pub losses: u64,
    /// Comparisons in which no answer was of use.
    pub bad: u64,
    pub rating: f64,
    /// Half of the 95 % interval.
    pub error: f64,
}

/// All models of these comparisons, the best first.
pub fn standings<'a>(votes: impl Iterator<Item = (&'a [String], Outcome)>) -> Vec<Standing> {
    let mut games = Games::default();
    for (models, outcome) in votes {
        games.add(models, outcome);
    }
    let strengths = games.strengths();
    let errors = games.errors(&strengths);
    let mut standings = games.standings;
    for (standing, (strength, error)) in standings.iter_mut().zip(strengths.iter().zip(errors)) {
        standing.rating = ZERO_POINTS + POINTS * strength;
        standing.error = DEVIATIONS * POINTS * error;
    }
    standings.sort_by(|one, other| {
        other.rating.total_cmp(&one.rating).then_with(|| one.model.cmp(&other.model))
    });
    standings
}

/// What is known before anything is computed.
#[derive(Default)]
struct Games {
    places: BTreeMap<String, usize>,
    standings: Vec<Standing>,
    /// By two models: how often the first was better; ties are half.
    wins: BTreeMap<(usize, usize), f64>,
}

impl Games {
    fn place(&mut self, model: &str) -> usize {
        if let Some(place) = self.places.get(model) {
            return *place;
        }
        let (place, model) = (self.standings.len(), model.to_owned());
        self.places.insert(model.clone(), place);
        let (comparisons, wins, ties, losses, bad) = (0, 0, 0, 0, 0);
        let (rating, error) = (0.0, 0.0);
        let standing = Standing { model, comparisons, wins, ties, losses, bad, rating, error };
        self.standings.push(standing);
        place
    }

    fn add(&mut self, models: &[String], outcome: Outcome) {
        let places: Vec<usize> = models.iter().map(|model| self.place(model)).collect();
        for (at, place) in places.iter().enumerate() {
            let standing = &mut self.standings[*place];
            standing.comparisons += 1;
            match outcome {
                Outcome::Better(best) if best == at => standing.wins += 1,
                Outcome::Better(_) => standing.losses += 1,
                Outcome::Tie => standing.ties += 1,
                Outcome::Bad => standing.bad += 1,
            }
        }
        match outcome {
            Outcome::Better(best) => {
                let Some(best) = places.get(best) else { return };
                for other in places.iter().filter(|place| *place != best) {
                    *self.wins.entry((*best, *other)).or_default() += 1.0;
                }
            }
            Outcome::Tie => {
                for one in &places {
                    for other in places.iter().filter(|place| *place != one) {
                        *self.wins.entry((*one, *other)).or_default() += 0.5;
                    }
                }
            }
            Outcome::Bad => {}
        }
    }

    /// The likeliest strengths, by Newton's method: the function has one summit.
    fn strengths(&self) -> Vec<f64> {
        let mut strengths = vec![0.0; self.standings.len()];
        for _ in 0..STEPS_MAX {
            let slope = self.slope(&strengths);
            let step = Cholesky::of(self.information(&strengths)).solve(&slope);
            // Far from the summit a whole step could leap over it.
            let longest = step.iter().fold(0.0_f64, |longest, part| longest.max(part.abs()));
            let share = if longest > 1.0 { 1.0 / longest } else { 1.0 };
            for (strength, part) in strengths.iter_mut().zip(&step) {
                *strength += share * part;
            }
            if longest < 1e-10 {
                break;
            }
        }
        strengths
    }

    fn slope(&self, strengths: &[f64]) -> Vec<f64> {
        let mut slope: Vec<f64> = strengths.iter().map(|own| 0.5 - better(*own, 0.0)).collect();
        for ((one, other), count) in &self.wins {
            let surprise = count * better(strengths[*other], strengths[*one]);
            slope[*one] += surprise;
            slope[*other] -= surprise;
        }
        slope
    }

    /// Fisher's information: the curvature of the logarithm of the likelihood, turned over.
    fn information(&self, strengths: &[f64]) -> Vec<Vec<f64>> {
        let count = strengths.len();
        let mut information = vec![vec![0.0; count]; count];
        for (place, own) in strengths.iter().enumerate() {
            information[place][place] = better(*own, 0.0) * better(0.0, *own);
        }
        for ((one, other), count) in &self.wins {
            let chance = better(strengths[*one], strengths[*other]);
            let weight = count * chance * (1.0 - chance);
            information[*one][*one] += weight;
            information[*other][*other] += weight;
            information[*one][*other] -= weight;
            information[*other][*one] -= weight;
        }
        information
    }

    /// Standard deviations of the strengths' distances to their mean.
    fn errors(&self, strengths: &[f64]) -> Vec<f64> {
        let decomposed = Cholesky::of(self.information(strengths));
        let of_place = |place: usize| {
            let mut distance = vec![-1.0 / strengths.len() as f64; strengths.len()];
            distance[place] += 1.0;
            let solved = decomposed.solve(&distance);
            let variance: f64 = distance.iter().zip(&solved).map(|(one, other)| one * other).sum();
            variance.max(0.0).sqrt()
        };
        (0..strengths.len()).map(of_place).collect()
    }
}

/// The probability that one is found better than another.
fn better(own: f64, other: f64) -> f64 {
    1.0 / (1.0 + (other - own).exp())
}

/// A symmetric positive matrix as a lower triangle times itself turned over. Information is one:
/// the imagined player adds to each place of its diagonal.
struct Cholesky(Vec<Vec<f64>>);

impl Cholesky {
    fn of(mut matrix: Vec<Vec<f64>>) -> Cholesky {
        for row in 0..matrix.len() {
            for column in 0..=row {
                let before: f64 = (0..column).map(|at| matrix[row][at] * matrix[column][at]).sum();
                let rest = matrix[row][column] - before;
                matrix[row][column] = match row == column {
                    // Rounding alone can bring it to nothing.
                    true => rest.max(f64::MIN_POSITIVE).sqrt(),
                    false => rest / matrix[column][column],
                };
            }
        }
        Cholesky(matrix)
    }

    fn solve(&self, right: &[f64]) -> Vec<f64> {
        let Cholesky(lower) = self;
        let mut solved = right.to_vec();
        for row in 0..solved.len() {
            let before: f64 = (0..row).map(|at| lower[row][at] * solved[at]).sum();
            solved[row] = (solved[row] - before) / lower[row][row];
        }
        for row in (0..solved.len()).rev() {
            let behind: f64 = (row + 1..solved.len()).map(|at| lower[at][row] * solved[at]).sum();
            solved[row] = (solved[row] - behind) / lower[row][row];
        }
        solved
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(votes: &[(&[&str], Outcome)]) -> Vec<Standing> {
        let owned: Vec<(Vec<String>, Outcome)> = votes
            .iter()
            .map(|(models, outcome)| (models.iter().map(|it| it.to_string()).collect(), *outcome))
            .collect();
        standings(owned.iter().map(|(models, outcome)| (&models[..], *outcome)))
    }

    fn near(found: f64, right: f64, what: &str) {
        assert!((found - right).abs() < 0.05, "{what}: {found}, right would be {right}");
    }

    #[test]
    fn no_votes_are_no_models() {
        assert!(of(&[]).is_empty());
    }

    /// Information of one tie: 1/4 for the pair and 1/4 for the imagined player, so the matrix is
    /// (1/2 -1/4; -1/4 1/2), its inverse (8/3 4/3; 4/3 8/3). Half of the distance of both has the
    /// variance (8/3 + 8/3 - 2 4/3) / 4 = 2/3, so the error is 1.96 sqrt(2/3) 173.718.
    #[test]
    fn one_tie_leaves_both_at_zero_with_the_error_of_the_inverse() {
        let found = of(&[(&["b", "a"], Outcome::Tie)]);
        assert_eq!((found[0].model.as_str(), found[1].model.as_str()), ("a", "b"));
        for standing in &found {
            near(standing.rating, 1000.0, "rating");
            near(standing.error, 1.96 * (2.0_f64 / 3.0).sqrt() * 173.7178, "error");
            assert_eq!((standing.ties, standing.comparisons, standing.wins), (1, 1, 0));
        }
    }

    /// Strengths are x and -x, where the slope is nothing: s(-2x) + 1/2 - s(x) = 0. With y =
    /// exp(-x) that is y^2/(1 + y^2) + 1/2 = 1/(1 + y), so 3y^3 + y^2 + y - 1 = 0, y = 0.46940.
    #[test]
    fn one_win_is_the_root_of_a_cubic() {
        let found = of(&[(&["a", "b"], Outcome::Better(0))]);
        let y: f64 = 0.469_395_6;
        assert!((3.0 * y.powi(3) + y * y + y - 1.0).abs() < 1e-3);
        near(found[0].rating, 1000.0 - 173.7178 * y.ln(), "winner");
        near(found[0].rating + found[1].rating, 2000.0, "sum");
        assert_eq!((found[0].wins, found[0].losses, found[1].wins, found[1].losses), (1, 0, 0, 1));
    }

    /// Many votes outweigh the imagined player: three wins of four are odds of 3, 190.85 points.
    #[test]
    fn odds_of_three_are_191_points() {
        let mut votes = Vec::new();
        for at in 0..40_000 {
            votes.push((&["a", "b"][..], Outcome::Better(usize::from(at % 4 == 0))));
        }
        let found = of(&votes);
        assert!((found[0].rating - found[1].rating - 190.85).abs() < 0.2, "{found:?}");
    }

    #[test]
    fn four_columns_are_pairs_and_all_bad_moves_nobody() {
        let models = &["a", "b", "c", "d"][..];
        let found = of(&[(models, Outcome::Better(2)), (models, Outcome::Bad)]);
        assert_eq!(found[0].model, "c");
        assert!(found[1..].iter().all(|it| it.rating == found[1].rating && it.losses == 1));
        assert!(found.iter().all(|it| it.comparisons == 2 && it.bad == 1));
        let pairs = of(&[
            (&["c", "a"], Outcome::Better(0)),
            (&["c", "b"], Outcome::Better(0)),
            (&["c", "d"], Outcome::Better(0)),
        ]);
        near(found[0].rating, pairs[0].rating, "the same as three pairs");
        let only_bad = of(&[(&["x", "y"], Outcome::Bad)]);
        near(only_bad[0].rating, 1000.0, "nothing is known");
        near(only_bad[0].error, 1.96 * 2.0_f64.sqrt() * 173.7178, "of the imagined player alone");
    }

    #[test]
    fn lopsided_votes_stay_finite_and_errors_shrink() {
        let many: Vec<_> = (0..5_000).map(|_| (&["a", "b"][..], Outcome::Better(0))).collect();
        let found = of(&many);
        assert!(found[0].rating.is_finite() && found[0].error.is_finite());
        assert!(found[0].rating - found[1].rating > 800.0);
        let ties = |count| of(&vec![(&["a", "b"][..], Outcome::Tie); count]);
        assert!(ties(100)[0].error < ties(4)[0].error);
        // Of the difference 1.96 * 173.7 / sqrt(2500), of each half of that.
        near(ties(10_000)[0].error, 1.96 * 173.7178 / 50.0 / 2.0, "after ten thousand");
    }
}
