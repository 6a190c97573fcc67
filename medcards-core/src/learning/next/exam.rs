use std::collections::HashMap;

use super::Area;

/// What share of the exam each specialty and topic has.
///
/// A specialty that is not named has the share of its cases among all, and a topic that is not named the
/// share of its cases within the specialty; then all are made to be 1 together.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ExamWeights {
    specialties: HashMap<String, f64>,
    topics: HashMap<(String, String), f64>,
}

impl ExamWeights {
    /// The shares of the cases.
    #[must_use]
    pub fn by_cases() -> Self {
        Self::default()
    }

    /// The same, but a specialty has this share of the exam, 0 to 1.
    #[must_use]
    pub fn with_specialty(mut self, specialty: &str, share: f64) -> Self {
        self.specialties
            .insert(specialty.to_lowercase(), share.clamp(0.0, 1.0));
        self
    }

    /// The same, but a topic has this share of its specialty, 0 to 1.
    #[must_use]
    pub fn with_topic(mut self, specialty: &str, topic: &str, share: f64) -> Self {
        let topic = (specialty.to_lowercase(), topic.to_lowercase());
        self.topics.insert(topic, share.clamp(0.0, 1.0));
        self
    }

    /// Gives areas their shares of the exam.
    pub(super) fn weigh(&self, areas: &mut [Area]) {
        let mut of_specialties: HashMap<Box<str>, usize> = HashMap::new();
        for area in areas.iter() {
            *of_specialties.entry(area.specialty.clone()).or_default() += area.cases.len();
        }
        let all: usize = of_specialties.values().sum();
        for area in areas.iter_mut() {
            let cases = area.cases.len() as f64;
            let of_specialty = of_specialties[&area.specialty] as f64;
            let specialty = self.specialties.get(&*area.specialty).copied();
            let specialty = specialty.unwrap_or(of_specialty / all.max(1) as f64);
            let name = (area.specialty.to_string(), area.topic.to_string());
            let topic = self.topics.get(&name).copied();
            area.exam_share = specialty * topic.unwrap_or(cases / of_specialty.max(1.0));
        }
        let sum: f64 = areas.iter().map(|area| area.exam_share).sum();
        if sum > 0.0 {
            areas.iter_mut().for_each(|area| area.exam_share /= sum);
        }
    }
}
