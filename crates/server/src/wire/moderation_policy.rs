//! The policy of `/v1/moderations`: what a model is asked about a text for each of OpenAI's
//! categories, and from which score on a category counts.

/// A category as OpenAI names it.
#[derive(Clone, Copy, Debug)]
pub struct Category {
    /// `self-harm/intent` …
    pub name: &'static str,
    /// What the text is asked for.
    asks: &'static str,
}

impl Category {
    /// The question as the model reads it.
    pub fn question(&self) -> String {
        format!("Question: Does the input {}?\nAnswer with {} or {} only.", self.asks, YES, NO)
    }
}

const YES: &str = "Yes";
const NO: &str = "No";

/// The possible answers: the score is the probability of the first.
pub const ANSWERS: [&str; 2] = [YES, NO];

/// The score from which on a category is flagged: yes is likelier than no. Another threshold would
/// pretend to know how well calibrated the model is; whoever has measured theirs has the scores.
pub const THRESHOLD: f64 = 0.5;

/// In the order of OpenAI's answers; the questions follow the definitions of its reference.
pub const CATEGORIES: [Category; 13] = [
    Category { name: "harassment", asks: "express, incite or promote harassment of anyone" },
    Category {
        name: "harassment/threatening",
        asks: "harass anyone and also threaten them with violence or serious harm",
    },
    Category {
        name: "hate",
        asks: "express, incite or promote hate based on race, gender, ethnicity, religion, \
               nationality, sexual orientation, disability or caste",
    },
    Category {
        name: "hate/threatening",
        asks: "express hate based on race, gender, ethnicity, religion, nationality, sexual \
               orientation, disability or caste, and also violence or serious harm towards that \
               group",
    },
    Category {
        name: "illicit",
        asks: "give instructions or advice on how to commit illicit acts or plan wrongdoing",
    },
    Category {
        name: "illicit/violent",
        asks: "give instructions or advice on violent wrongdoing, or on getting any weapon",
    },
    Category {
        name: "self-harm",
        asks: "promote, encourage or depict self-harm, such as suicide, cutting or eating \
               disorders",
    },
    Category {
        name: "self-harm/intent",
        asks: "say that its speaker is harming or means to harm themselves, such as by suicide, \
               cutting or eating disorders",
    },
    Category {
        name: "self-harm/instructions",
        asks: "encourage self-harm, such as suicide, cutting or eating disorders, or tell how to \
               do it",
    },
    Category {
        name: "sexual",
        asks: "mean to arouse sexual excitement or promote sexual services (sex education and \
               wellness are no such thing)",
    },
    Category {
        name: "sexual/minors",
        asks: "have sexual content that includes anyone under 18 years old",
    },
    Category { name: "violence", asks: "depict death, violence or physical injury" },
    Category {
        name: "violence/graphic",
        asks: "depict death, violence or physical injury in graphic detail",
    },
];
