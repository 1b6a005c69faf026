//! Turns the tokens that each expert has worked on into metrics of bounded number.
//!
//! A series for each expert of each layer would be 15,000 for DeepSeek-V3, most of them about the
//! same. What operators ask is whether some experts are overloaded, and which: the busiest of each
//! layer, beside what the layer's share would be, tell both in a dozen series a layer.

use std::fmt;
use std::sync::Arc;

use myriad_model::Model;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;

/// Experts of a layer that have a series of their own: all of small mixtures.
const BUSIEST: usize = 8;

/// Reads a model's counts when they are asked for.
pub(super) struct ExpertLoad(pub Arc<Model>);

impl fmt::Debug for ExpertLoad {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("ExpertLoad")
    }
}

impl Collector for ExpertLoad {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        let layers = self.0.expert_tokens();
        let mut family = encoder.encode_descriptor(
            "myriad_expert_tokens",
            "Tokens that the busiest experts of a layer worked on",
            None,
            MetricType::Counter,
        )?;
        for (layer, counts) in &layers {
            for expert in busiest(counts) {
                let labels = [("layer", layer.to_string()), ("expert", expert.to_string())];
                let count = ConstCounter::new(counts[expert]);
                count.encode(family.encode_family(&labels)?)?;
            }
        }
        let mut family = encoder.encode_descriptor(
            "myriad_layer_expert_tokens",
            "Tokens that all experts of a layer worked on, together",
            None,
            MetricType::Counter,
        )?;
        for (layer, counts) in &layers {
            let sum = ConstCounter::new(counts.iter().sum::<u64>());
            sum.encode(family.encode_family(&[("layer", layer.to_string())])?)?;
        }
        let mut family = encoder.encode_descriptor(
            "myriad_expert_imbalance",
            "Tokens of a layer's busiest expert, divided by the mean of all; 1: all are even",
            None,
            MetricType::Gauge,
        )?;
        for (layer, counts) in &layers {
            let ratio = ConstGauge::new(imbalance(counts));
            ratio.encode(family.encode_family(&[("layer", layer.to_string())])?)?;
        }
        Ok(())
    }
}

/// The experts with the most tokens, in order of their numbers.
fn busiest(counts: &[u64]) -> Vec<usize> {
    let mut experts: Vec<usize> = (0..counts.len()).collect();
    experts.sort_by_key(|&expert| std::cmp::Reverse(counts[expert]));
    experts.truncate(BUSIEST);
    experts.sort_unstable();
    experts
}

/// The largest count divided by the mean; 1 where nothing is counted yet.
pub(crate) fn imbalance(counts: &[u64]) -> f64 {
    let (sum, max) = (counts.iter().sum::<u64>(), counts.iter().max().copied().unwrap_or(0));
    match sum {
        0 => 1.0,
        sum => max as f64 * counts.len() as f64 / sum as f64,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::Metrics;
    use myriad_formats::Gguf;
    use myriad_kernels::{BlockType, Compute, Kernels};
    use myriad_model::Family;
    use myriad_model::synthetic::{Shape, gguf};

    #[test]
    fn mixtures_have_series_and_dense_models_none() {
        let compute = Compute::new(Kernels::detect().unwrap(), 1);
        let text = |family| {
            let shape = Shape { experts: 12, ..Shape::small(family, BlockType::Q8_0) };
            let file = Gguf::from_bytes(gguf(&shape, 1)).unwrap();
            let model = Model::load(&file, &compute, &mut |_| ()).unwrap();
            let mut metrics = Metrics::new("a");
            metrics.watch_experts(Arc::new(model));
            metrics.encode()
        };
        let mixture = text(Family::Qwen3Moe);
        let count = |name: &str| {
            mixture.lines().filter(|line| line.starts_with(&format!("{name}{{"))).count()
        };
        assert_eq!(count("myriad_expert_tokens_total"), 3 * BUSIEST, "{mixture}");
        assert_eq!(count("myriad_layer_expert_tokens_total"), 3);
        let even = r#"myriad_expert_imbalance{model_name="a",layer="2"} 1.0"#;
        assert!(mixture.contains(even), "{mixture}");
        assert!(!text(Family::Qwen3).contains("myriad_expert"));
    }

    #[test]
    fn the_busiest_are_found_and_weighed() {
        let counts = [5, 9, 0, 1, 1, 1, 1, 1, 1, 20];
        assert_eq!(busiest(&counts), [0, 1, 3, 4, 5, 6, 7, 9]);
        assert_eq!(busiest(&[3, 0]), [0, 1]);
        assert_eq!(imbalance(&[0, 0]), 1.0);
        assert_eq!(imbalance(&[2, 2, 2]), 1.0);
        assert_eq!(imbalance(&[6, 0, 0]), 3.0);
    }
}
