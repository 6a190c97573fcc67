use medcards_core::learning::irt::{
    CaseParameters, Fit, FitConfig, Prior, Responses, Slopes, eap, fit,
};

/// How many of 1,000 students answered five questions of the Law School Admission Test in each way, from
/// all wrong to all right, the last question being the lowest bit (Bock and Lieberman, 1970).
const LSAT_SIX: [u32; 32] = [
    3, 6, 2, 11, 1, 1, 3, 4, 1, 8, 0, 16, 0, 3, 2, 15, 10, 29, 14, 81, 3, 28, 15, 80, 16, 56, 21,
    173, 11, 61, 28, 298,
];
const LSAT_SEVEN: [u32; 32] = [
    12, 19, 1, 7, 3, 19, 3, 17, 10, 5, 3, 7, 7, 23, 8, 28, 7, 39, 11, 34, 14, 51, 15, 90, 6, 25, 7,
    35, 18, 136, 32, 308,
];

/// Questions in their order, with the answers of a pattern.
fn pattern(bits: usize) -> impl Iterator<Item = (usize, bool)> {
    (0..5).map(move |question| (question, bits >> (4 - question) & 1 == 1))
}

fn lsat(table: &[u32; 32]) -> Responses {
    let mut responses = Responses::new(5);
    for (bits, students) in table.iter().enumerate() {
        responses.push_many(f64::from(*students), pattern(bits));
    }
    responses
}

fn exact(slopes: Slopes) -> FitConfig {
    FitConfig {
        slopes,
        iterations_max: 5_000,
        tolerance: 1e-6,
        ..FitConfig::default()
    }
}

struct Reference {
    table: [u32; 32],
    slopes: Slopes,
    discriminations: [f64; 5],
    intercepts: [f64; 5],
    difficulties: [f64; 5],
    log_likelihood: f64,
}

fn check(reference: &Reference) {
    let found = fit(&lsat(&reference.table), &exact(reference.slopes));
    assert!(found.has_converged, "{found:?}");
    assert_eq!(found.answers, [1_000; 5]);
    for (question, case) in found.parameters.iter().enumerate() {
        let near = |found: f64, expected: f64| {
            assert!(
                (found - expected).abs() < 1e-3,
                "question {question}: {found} is not {expected} in {case:?}"
            );
        };
        near(case.discrimination, reference.discriminations[question]);
        near(case.intercept, reference.intercepts[question]);
        // A quotient of both, which lies further from 0 than they do.
        let difficulty = reference.difficulties[question];
        near(case.difficulty() / 3.0, difficulty / 3.0);
    }
    let difference = found.log_likelihood - reference.log_likelihood;
    assert!(difference.abs() < 1e-3, "{}", found.log_likelihood);
}

/// The references are what three other programs agree on to 0.001, and direct maximisation with 121
/// nodes gives these digits.
#[test]
fn the_law_school_tests_have_the_parameters_that_others_find() {
    for reference in [
        Reference {
            table: LSAT_SIX,
            slopes: Slopes::Free,
            discriminations: [0.82566, 0.72274, 0.89088, 0.68837, 0.65685],
            intercepts: [2.77323, 0.9902, 0.24915, 1.28476, 2.05327],
            difficulties: [-3.35882, -1.37006, -0.27967, -1.86638, -3.12591],
            log_likelihood: -2466.65338,
        },
        Reference {
            table: LSAT_SIX,
            slopes: Slopes::Equal,
            discriminations: [0.75513; 5],
            intercepts: [2.73001, 0.99861, 0.23985, 1.30645, 2.0994],
            difficulties: [-3.61527, -1.32242, -0.31763, -1.73009, -2.78017],
            log_likelihood: -2466.9376,
        },
        Reference {
            table: LSAT_SEVEN,
            slopes: Slopes::Free,
            discriminations: [0.98755, 1.08084, 1.70748, 0.76499, 0.73567],
            intercepts: [1.85586, 0.80797, 1.80521, 0.486, 1.85446],
            difficulties: [-1.87926, -0.74754, -1.05724, -0.6353, -2.52076],
            log_likelihood: -2658.80511,
        },
        Reference {
            table: LSAT_SEVEN,
            slopes: Slopes::Equal,
            discriminations: [1.01127; 5],
            intercepts: [1.86826, 0.79101, 1.46098, 0.52151, 1.99298],
            difficulties: [-1.84745, -0.78219, -1.4447, -0.5157, -1.97077],
            log_likelihood: -2664.90089,
        },
    ] {
        check(&reference);
    }
}

#[test]
fn a_weight_is_so_many_students() {
    let mut one_by_one = Responses::new(5);
    for (bits, students) in LSAT_SEVEN.iter().enumerate() {
        for _ in 0..*students {
            one_by_one.push(pattern(bits));
        }
    }
    let few = FitConfig {
        iterations_max: 3,
        ..FitConfig::default()
    };
    let (one, many) = (fit(&one_by_one, &few), fit(&lsat(&LSAT_SEVEN), &few));
    for (one, many) in one.parameters.iter().zip(&many.parameters) {
        assert!((one.discrimination - many.discrimination).abs() < 1e-9);
        assert!((one.intercept - many.intercept).abs() < 1e-9);
    }
}

/// Numbers from 0 to 1 that look random, the same each time.
struct Dice(u64);

impl Dice {
    fn roll(&mut self) -> f64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005);
        self.0 = self.0.wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 11) as f64 / (1_u64 << 53) as f64
    }

    /// From a normal distribution, nearly: a sum of twelve.
    fn normal(&mut self) -> f64 {
        (0..12).map(|_| self.roll()).sum::<f64>() - 6.0
    }
}

/// Each student answered a third of the cases.
fn sparse(truth: &[CaseParameters], students: usize) -> (Responses, Vec<f64>) {
    let mut dice = Dice(7);
    let mut responses = Responses::new(truth.len());
    let mut abilities = Vec::new();
    for _ in 0..students {
        let ability = dice.normal();
        abilities.push(ability);
        let mut answers = Vec::new();
        for (case, parameters) in truth.iter().enumerate() {
            if dice.roll() < 1.0 / 3.0 {
                answers.push((case, dice.roll() < parameters.chance(ability)));
            }
        }
        responses.push(answers);
    }
    (responses, abilities)
}

fn truth() -> Vec<CaseParameters> {
    let case = |n: usize| CaseParameters {
        discrimination: 0.5 + 0.25 * (n % 5) as f64,
        intercept: -1.5 + 0.5 * (n % 7) as f64,
    };
    (0..30).map(case).collect()
}

#[test]
fn parameters_are_found_again_although_each_student_answered_few() {
    let (responses, _) = sparse(&truth(), 6_000);
    let found = fit(&responses, &FitConfig::default());
    assert!(found.has_converged, "after {} iterations", found.iterations);
    for (found, truth) in found.parameters.iter().zip(truth()) {
        let slope = found.discrimination - truth.discrimination;
        let intercept = found.intercept - truth.intercept;
        assert!(slope.abs() < 0.25, "{found:?} of {truth:?}");
        assert!(intercept.abs() < 0.2, "{found:?} of {truth:?}");
    }
}

#[test]
fn an_ability_lies_within_its_deviation_as_often_as_it_should() {
    let (responses, abilities) = sparse(&truth(), 2_000);
    let mut dice = Dice(7);
    let mut within = 0;
    for ability in &abilities {
        dice.normal();
        let mut answers = Vec::new();
        for (case, parameters) in truth().iter().enumerate() {
            if dice.roll() < 1.0 / 3.0 {
                answers.push((case, dice.roll() < parameters.chance(*ability)));
            }
        }
        let (mean, deviation) = eap(answers, &truth());
        within += u32::from((mean - ability).abs() < deviation);
    }
    assert!(!responses.is_empty());
    let share = f64::from(within) / 2_000.0;
    assert!((0.64..0.73).contains(&share), "{share} of 0.683");
}

#[test]
fn an_ability_without_answers_is_that_of_anybody() {
    let (mean, deviation) = eap([], &truth());
    assert!(mean.abs() < 1e-9);
    assert!((deviation - 1.0).abs() < 1e-6, "{deviation}");
    assert_eq!((mean, deviation), eap([(999, true)], &truth()));
}

#[test]
fn a_prior_keeps_a_case_of_few_answers_near_the_others() {
    let mut responses = Responses::new(2);
    for _ in 0..3 {
        responses.push([(0, true)]);
    }
    let free = fit(&responses, &FitConfig::default());
    let config = FitConfig {
        prior: Some(Prior::WEAK),
        ..FitConfig::default()
    };
    let held = fit(&responses, &config);
    assert!(free.parameters[0].intercept > held.parameters[0].intercept);
    assert!(
        (0.5..2.5).contains(&held.parameters[0].intercept),
        "{held:?}"
    );
    assert!(
        (held.parameters[0].discrimination - 0.8).abs() < 0.2,
        "{held:?}"
    );
    assert!(
        (held.parameters[1].intercept - 0.9).abs() < 1e-3,
        "{held:?}"
    );
    assert_eq!(held.answers, [3, 0]);
}

#[test]
fn whatever_is_answered_the_numbers_stay_finite_and_the_work_ends() {
    let is_finite = |fit: &Fit| {
        let case = |it: &CaseParameters| {
            it.discrimination.is_finite() && it.intercept.is_finite() && it.difficulty().is_finite()
        };
        fit.parameters.iter().all(case) && fit.log_likelihood.is_finite()
    };
    for slopes in [Slopes::Free, Slopes::Equal] {
        for (what, right) in [("all right", [true; 3]), ("all wrong", [false; 3])] {
            let mut responses = Responses::new(4);
            for _ in 0..50 {
                responses.push(right.into_iter().enumerate());
            }
            responses.push([]);
            responses.push([(4, true), (usize::MAX, true)]);
            responses.push_many(f64::NAN, [(0, true)]);
            responses.push_many(-1.0, [(0, true)]);
            assert_eq!(responses.len(), 150, "numbers of no case are left out");
            let config = FitConfig {
                slopes,
                nodes: 0,
                iterations_max: 200,
                ..FitConfig::default()
            };
            let found = fit(&responses, &config);
            assert!(is_finite(&found), "{what}: {found:?}");
            assert!(found.iterations <= 200);
        }
        let nothing = fit(&Responses::new(0), &exact(slopes));
        assert!(nothing.parameters.is_empty() && nothing.has_converged);
    }
}
