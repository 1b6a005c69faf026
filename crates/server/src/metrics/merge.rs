//! Turns the metrics of several models into one text, in which each metric stands once.

/// What ends a text.
const END: &str = "# EOF\n";

/// What begins a metric.
const HEAD: &str = "# HELP ";

/// One text of those of several registries: the values of equal metrics stand together, under the
/// first one's head. Labels tell them apart.
pub fn merge(texts: impl Iterator<Item = String>) -> String {
    // Heads (help, type) and values, in the order of their first coming.
    let mut metrics: Vec<(String, String)> = Vec::new();
    for text in texts {
        let text = text.strip_suffix(END).unwrap_or(&text);
        for metric in text.split(HEAD).skip(1) {
            let is_head = |line: &&str| line.starts_with('#');
            let mut lines = metric.split_inclusive('\n');
            let first = lines.next().unwrap_or_default();
            let (more, values): (Vec<&str>, Vec<&str>) = lines.partition(is_head);
            let head = format!("{HEAD}{first}{}", more.concat());
            match metrics.iter_mut().find(|(known, _)| *known == head) {
                Some((_, all)) => all.push_str(&values.concat()),
                None => metrics.push((head, values.concat())),
            }
        }
    }
    metrics.into_iter().flat_map(|(head, values)| [head, values]).chain([END.to_owned()]).collect()
}

#[cfg(test)]
mod tests {
    use super::merge;
    use crate::metrics::Metrics;

    #[test]
    fn one_text_stays_and_two_share_their_heads() {
        let (one, other) = (Metrics::new("one").encode(), Metrics::new("other").encode());
        assert_eq!(merge([one.clone()].into_iter()), one);
        let both = merge([one, other].into_iter());
        let at = |text: &str| both.find(text).unwrap_or_else(|| panic!("no {text} in {both}"));
        assert_eq!(both.matches("# TYPE myriad_prompt_tokens counter").count(), 1);
        let (first, second) = (
            at("myriad_prompt_tokens_total{model_name=\"one\"} 0"),
            at("myriad_prompt_tokens_total{model_name=\"other\"} 0"),
        );
        assert!(first < second && second < at("# HELP vllm:prompt_tokens "));
        assert!(both.ends_with("# EOF\n") && both.matches("# EOF").count() == 1);
    }
}
