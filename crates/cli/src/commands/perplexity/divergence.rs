//! Turns two models' logits for the same tokens into how far the second is from the first.

use myriad_engine::log_probabilities;
use serde_json::{Value, json};

use super::Sum;

/// Kullback–Leibler divergence of what a model expects from what its exact twin expects, in nats,
/// token by token.
#[derive(Default)]
pub struct Divergence {
    sum: Sum,
    /// Of each token.
    values: Vec<f32>,
    /// Tokens where both hold the same one likeliest.
    agreed: usize,
}

impl Divergence {
    /// One place: Σ p · ln(p / q), p the exact probabilities. [vocab] each
    pub fn add(&mut self, exact: &[f32], logits: &[f32]) {
        let (p, q) = (log_probabilities(exact), log_probabilities(logits));
        let terms = p.iter().zip(&q).map(|(p, q)| f64::from(p.exp()) * f64::from(p - q));
        // Rounding may leave a little less than nothing.
        let value = terms.sum::<f64>().max(0.0);
        self.sum.add(value);
        self.values.push(value as f32);
        self.agreed += usize::from(likeliest(exact) == likeliest(logits));
    }

    /// Mean, its standard error, the 99th of a hundred, the greatest, and the share that agreed.
    fn figures(&self) -> [f64; 5] {
        let mut values = self.values.clone();
        values.sort_by(f32::total_cmp);
        let at = |share: f64| {
            let index = (values.len() as f64 * share) as usize;
            values.get(index.min(values.len().saturating_sub(1))).map_or(f64::NAN, |&x| x.into())
        };
        let agreed = self.agreed as f64 / values.len() as f64;
        [self.sum.mean(), self.sum.mean_error(), at(0.99), at(1.0), agreed]
    }

    /// For scripts.
    pub fn json(&self) -> Value {
        let [mean, error, high, most, agreed] = self.figures();
        json!({"mean": mean, "standard_error": error, "p99": high, "max": most,
               "same_likeliest": agreed})
    }

    /// For people.
    pub fn text(&self) -> String {
        let [mean, error, high, most, agreed] = self.figures();
        format!(
            "divergence {mean:.6} ± {error:.6} nats from its exact twin  (99 of 100 tokens below \
             {high:.4}, the worst {most:.3}; the likeliest token is the same for {:.2} %)",
            agreed * 100.0
        )
    }
}

fn likeliest(logits: &[f32]) -> Option<usize> {
    (0..logits.len()).max_by(|&a, &b| logits[a].total_cmp(&logits[b]).then(b.cmp(&a)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_twin_is_nowhere_away_and_others_are() {
        let mut divergence = Divergence::default();
        divergence.add(&[1.0, 2.0, 3.0], &[11.0, 12.0, 13.0]);
        assert!(divergence.figures()[0] < 1e-6 && divergence.figures()[4] == 1.0);
        // p = (1/2, 1/2), q = (1/4, 3/4): ln(2)/2 + ln(2/3)/2.
        let mut divergence = Divergence::default();
        divergence.add(&[0.0, 0.0], &[0.0, 3f32.ln()]);
        let right = 0.5 * 2f64.ln() + 0.5 * (2f64 / 3.0).ln();
        let [mean, error, high, most, agreed] = divergence.figures();
        assert!((mean - right).abs() < 1e-6, "{mean}");
        assert_eq!((error, agreed), (0.0, 0.0));
        assert!((high - right).abs() < 1e-6 && high == most);
    }
}
