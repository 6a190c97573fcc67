//! The two-parameter logistic model of item response theory.
//!
//! The chance that a student of ability θ gets case i right is `1 / (1 + exp(-aᵢ (θ - bᵢ)))`, where
//! abilities have mean 0 and deviation 1. [`fit`] finds discriminations a and difficulties b from who
//! got what right, by marginal maximum likelihood with the EM algorithm of Bock and Aitkin (*Marginal
//! maximum likelihood estimation of item parameters*, 1981); [`eap`] estimates an ability by the mean
//! of its distribution after the answers.
//!
//! Everything here is pure: the same responses in the same order give the same numbers.

/// The most cases of one calibration: ten times what a platform has, for which the tables of a fit take
/// some 400 MB.
pub const CASES_MAX: usize = 200_000;

/// The most nodes of the grid of abilities: more than any accuracy here needs.
pub const NODES_MAX: usize = 201;

/// How far the grid reaches: 0.00006 % of students lie beyond five deviations, and those beyond six
/// change no digit.
const ABILITY_MAX: f64 = 6.0;

/// The most steps of Newton's method for one case in one iteration. EM only needs an improvement.
const NEWTON_STEPS_MAX: usize = 12;

/// The furthest that one step of Newton's method goes.
const NEWTON_STEP_MAX: f64 = 1.0;

/// A step this small ends Newton's method.
const NEWTON_STEP_LEAST: f64 = 1e-7;

/// Intercepts and slopes stay this close to 0: a case that everybody gets right has no finite ones.
const INTERCEPT_MAX: f64 = 12.0;
const SLOPE_MAX: f64 = 6.0;

/// Slopes nearer to 0 have no difficulty that could be told.
const SLOPE_LEAST: f64 = 1e-3;

/// Who got what right: each student answered some of the cases.
///
/// A student's answers come one after the other. Count the first answer of a student to a case only:
/// later ones tell what feedback taught.
#[derive(Clone, Debug, Default)]
pub struct Responses {
    /// Where each student's answers end.
    ends: Vec<usize>,
    /// How many students answered in this way.
    weights: Vec<f64>,
    /// The case, times 2, and 1 more if it was right.
    answers: Vec<u32>,
    cases: usize,
}

impl Responses {
    /// Nobody answered any of so many cases, at most [`CASES_MAX`].
    #[must_use]
    pub fn new(cases: usize) -> Self {
        Self {
            cases: cases.min(CASES_MAX),
            ..Self::default()
        }
    }

    /// Adds a student with their answers: the number of the case from 0, and whether it was right.
    /// Numbers of no case are left out.
    pub fn push(&mut self, answers: impl IntoIterator<Item = (usize, bool)>) {
        self.push_many(1.0, answers);
    }

    /// Adds so many students who answered in the same way. None, if it is not a positive number.
    pub fn push_many(&mut self, weight: f64, answers: impl IntoIterator<Item = (usize, bool)>) {
        if !(weight.is_finite() && weight > 0.0) {
            return;
        }
        let cases = self.cases;
        let known = answers.into_iter().filter(|(case, _)| *case < cases);
        let coded = known.map(|(case, is_right)| (case as u32) << 1 | u32::from(is_right));
        self.answers.extend(coded);
        self.ends.push(self.answers.len());
        self.weights.push(weight);
    }

    /// How many cases there are.
    #[must_use]
    pub const fn cases(&self) -> usize {
        self.cases
    }

    /// How many answers there are.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.answers.len()
    }

    /// Whether there are none.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.answers.is_empty()
    }

    fn students(&self) -> impl Iterator<Item = (f64, &[u32])> {
        let begins = std::iter::once(&0).chain(&self.ends);
        let bounds = begins.zip(&self.ends).map(|(begin, end)| *begin..*end);
        let students = bounds.zip(&self.weights);
        students.map(|(bounds, weight)| (*weight, &self.answers[bounds]))
    }
}

/// A case in the model.
#[derive(Clone, Copy, Debug, PartialEq)]
#[expect(clippy::exhaustive_structs, reason = "the two parameters")]
pub struct CaseParameters {
    /// The discrimination a: the slope of the log odds over ability.
    pub discrimination: f64,
    /// The log odds of a right answer at ability 0: d = -a b.
    pub intercept: f64,
}

impl CaseParameters {
    /// The difficulty b: the ability that gets it right half of the time. Bounded where the case does
    /// not tell students apart.
    #[must_use]
    pub fn difficulty(&self) -> f64 {
        let slope = self.discrimination;
        let least = SLOPE_LEAST.copysign(slope);
        let slope = if slope.abs() < SLOPE_LEAST {
            least
        } else {
            slope
        };
        -self.intercept / slope
    }

    /// The chance that a student of this ability gets it right.
    #[must_use]
    pub fn chance(&self, ability: f64) -> f64 {
        logistic(self.discrimination * ability + self.intercept)
    }
}

/// How discriminations are found.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[expect(clippy::exhaustive_enums, reason = "one or two parameters")]
pub enum Slopes {
    /// One for all cases: the one-parameter model.
    Equal,
    /// One for each case.
    #[default]
    Free,
}

/// What is held likely of parameters before any answer: normal distributions, so that a case with few
/// answers stays near what cases are like.
#[derive(Clone, Copy, Debug, PartialEq)]
#[expect(clippy::exhaustive_structs, reason = "two normal distributions")]
pub struct Prior {
    /// The mean of discriminations.
    pub discrimination: f64,
    /// Their deviation.
    pub discrimination_deviation: f64,
    /// The mean of intercepts.
    pub intercept: f64,
    /// Their deviation.
    pub intercept_deviation: f64,
}

impl Prior {
    /// A weak one: as much as some ten answers say, about a case that 70 % get right.
    pub const WEAK: Self = Self {
        discrimination: 0.8,
        discrimination_deviation: 0.5,
        intercept: 0.9,
        intercept_deviation: 2.0,
    };
}

/// How [`fit`] works.
#[derive(Clone, Copy, Debug, PartialEq)]
#[expect(clippy::exhaustive_structs, reason = "built with struct update syntax")]
pub struct FitConfig {
    /// How discriminations are found. Default: one for each case.
    pub slopes: Slopes,
    /// What is held likely before. Default: nothing, which is maximum likelihood.
    pub prior: Option<Prior>,
    /// How many nodes the grid of abilities has, 5 to [`NODES_MAX`]. Default: 61, which gives four
    /// digits.
    pub nodes: usize,
    /// The most iterations. Default: 500.
    pub iterations_max: usize,
    /// It has converged when no parameter moved further than this. Default: 0.0001, when they are some 0.001 from where
    /// they would end.
    pub tolerance: f64,
}

impl Default for FitConfig {
    fn default() -> Self {
        Self {
            slopes: Slopes::Free,
            prior: None,
            nodes: 61,
            iterations_max: 500,
            tolerance: 1e-4,
        }
    }
}

/// What [`fit`] found.
#[derive(Clone, Debug, PartialEq)]
#[expect(clippy::exhaustive_structs, reason = "what a fit gives")]
pub struct Fit {
    /// The parameters of each case, by its number.
    pub parameters: Vec<CaseParameters>,
    /// How many answers each of them has.
    pub answers: Vec<u64>,
    /// The logarithm of how likely the responses are with these parameters, without the prior.
    pub log_likelihood: f64,
    /// How many iterations it took.
    pub iterations: usize,
    /// Whether it has converged.
    pub has_converged: bool,
}

/// Finds the parameters with which the responses are most likely, or most probable with a prior.
///
/// A case that nobody answered stays where it begins, or is like the prior. Time is in proportion to
/// answers × nodes × iterations, memory to answers and to cases × nodes.
#[must_use]
pub fn fit(responses: &Responses, config: &FitConfig) -> Fit {
    let grid = Grid::new(config.nodes);
    let answers = count(responses);
    let mut parameters: Vec<_> = answers.iter().map(begin).collect();
    let mut tables = Tables::new(responses.cases, grid.len());
    let (mut iterations, mut has_converged) = (0, false);
    while iterations < config.iterations_max && !has_converged {
        iterations += 1;
        tables.expect(responses, &parameters, &grid);
        let moved = match config.slopes {
            Slopes::Free => improve_each(&mut parameters, &tables, &grid, config.prior.as_ref()),
            Slopes::Equal => improve_equal(&mut parameters, &tables, &grid, config.prior.as_ref()),
        };
        has_converged = moved < config.tolerance;
    }
    let log_likelihood = tables.expect(responses, &parameters, &grid);
    Fit {
        parameters,
        answers: answers.iter().map(|it| it.all() as u64).collect(),
        log_likelihood,
        iterations,
        has_converged,
    }
}

/// The ability of a student after some answers, with its deviation: mean and deviation of its
/// distribution, which is normal before them. Cases without parameters are left out.
#[must_use]
pub fn eap(
    answers: impl IntoIterator<Item = (usize, bool)>,
    parameters: &[CaseParameters],
) -> (f64, f64) {
    let grid = Grid::new(FitConfig::default().nodes);
    let mut logs = grid.log_weights.clone();
    for (case, is_right) in answers {
        let Some(case) = parameters.get(case) else {
            continue;
        };
        for (log, ability) in logs.iter_mut().zip(&grid.abilities) {
            let odds = case.discrimination * ability + case.intercept;
            *log += log_logistic(if is_right { odds } else { -odds });
        }
    }
    normalise(&mut logs);
    let mean: f64 = logs.iter().zip(&grid.abilities).map(|(p, x)| p * x).sum();
    let spread = |(p, x): (&f64, &f64)| p * (x - mean) * (x - mean);
    let variance: f64 = logs.iter().zip(&grid.abilities).map(spread).sum();
    (mean, variance.max(0.0).sqrt())
}

/// How many wrong and right answers a case has.
#[derive(Clone, Copy, Debug, Default)]
struct Count([f64; 2]);

impl Count {
    const fn all(&self) -> f64 {
        self.0[0] + self.0[1]
    }
}

fn count(responses: &Responses) -> Vec<Count> {
    let mut counts = vec![Count::default(); responses.cases];
    for (weight, answers) in responses.students() {
        for answer in answers {
            counts[(answer >> 1) as usize].0[(answer & 1) as usize] += weight;
        }
    }
    counts
}

/// Where the search begins: a slope of 1, and the intercept that the share of right answers gives.
fn begin(Count([wrong, right]): &Count) -> CaseParameters {
    CaseParameters {
        discrimination: 1.0,
        intercept: ((right + 0.5) / (wrong + 0.5)).ln(),
    }
}

/// Abilities, and how many students have them.
#[derive(Debug)]
struct Grid {
    abilities: Vec<f64>,
    log_weights: Vec<f64>,
}

impl Grid {
    fn new(nodes: usize) -> Self {
        let nodes = nodes.clamp(5, NODES_MAX);
        let step = 2.0 * ABILITY_MAX / (nodes - 1) as f64;
        let abilities: Vec<_> = (0..nodes)
            .map(|node| step * node as f64 - ABILITY_MAX)
            .collect();
        let mut weights: Vec<_> = abilities.iter().map(|x| -x * x / 2.0).collect();
        normalise(&mut weights);
        let log_weights = weights.iter().map(|weight| weight.ln()).collect();
        Self {
            abilities,
            log_weights,
        }
    }

    const fn len(&self) -> usize {
        self.abilities.len()
    }
}

/// What is known of each kind of answer at each ability. The kinds are numbered as in [`Responses`].
#[derive(Debug)]
struct Tables {
    nodes: usize,
    /// The logarithm of how likely it is.
    logs: Vec<f64>,
    /// How many are expected of students of that ability.
    counts: Vec<f64>,
}

impl Tables {
    fn new(cases: usize, nodes: usize) -> Self {
        Self {
            nodes,
            logs: vec![0.0; cases * 2 * nodes],
            counts: vec![0.0; cases * 2 * nodes],
        }
    }

    /// The first half of an iteration: how able students probably are, and so how many answers of each
    /// kind are expected at each ability. Returns the log likelihood.
    fn expect(&mut self, responses: &Responses, parameters: &[CaseParameters], grid: &Grid) -> f64 {
        for (rows, case) in self.logs.chunks_mut(2 * self.nodes).zip(parameters) {
            let (wrong, right) = rows.split_at_mut(self.nodes);
            for ((wrong, right), ability) in wrong.iter_mut().zip(right).zip(&grid.abilities) {
                let odds = case.discrimination * ability + case.intercept;
                *wrong = log_logistic(-odds);
                *right = log_logistic(odds);
            }
        }
        self.counts.fill(0.0);
        let mut log_likelihood = 0.0;
        let mut student = grid.log_weights.clone();
        for (weight, answers) in responses.students() {
            student.copy_from_slice(&grid.log_weights);
            for answer in answers {
                let row = &self.logs[*answer as usize * self.nodes..][..self.nodes];
                for (sum, log) in student.iter_mut().zip(row) {
                    *sum += log;
                }
            }
            log_likelihood += weight * normalise(&mut student);
            for share in &mut student {
                *share *= weight;
            }
            for answer in answers {
                let row = &mut self.counts[*answer as usize * self.nodes..][..self.nodes];
                for (count, share) in row.iter_mut().zip(&student) {
                    *count += share;
                }
            }
        }
        log_likelihood
    }

    /// What is expected of a case: ability, how many answers, and how many of them right.
    fn of_case<'a>(
        &'a self,
        case: usize,
        grid: &'a Grid,
    ) -> impl Iterator<Item = (f64, f64, f64)> + 'a {
        let rows = &self.counts[case * 2 * self.nodes..][..2 * self.nodes];
        let (wrong, right) = rows.split_at(self.nodes);
        let counts = wrong.iter().zip(right);
        let nodes = grid.abilities.iter().zip(counts);
        nodes.map(|(ability, (wrong, right))| (*ability, wrong + right, *right))
    }
}

/// The slopes and curvatures of the expected log likelihood at some parameters.
#[derive(Clone, Copy, Debug, Default)]
struct Shape {
    by_slope: f64,
    by_intercept: f64,
    slope_curve: f64,
    mixed_curve: f64,
    intercept_curve: f64,
}

impl Shape {
    fn of(
        nodes: impl Iterator<Item = (f64, f64, f64)>,
        case: &CaseParameters,
        prior: Option<&Prior>,
    ) -> Self {
        let mut shape = Self::default();
        for (ability, all, right) in nodes {
            let chance = case.chance(ability);
            let error = right - all * chance;
            let weight = all * chance * (1.0 - chance);
            shape.by_slope += error * ability;
            shape.by_intercept += error;
            shape.slope_curve += weight * ability * ability;
            shape.mixed_curve += weight * ability;
            shape.intercept_curve += weight;
        }
        if let Some(prior) = prior {
            let pull = |value: f64, mean: f64, deviation: f64| {
                let precision = 1.0 / (deviation * deviation);
                ((mean - value) * precision, precision)
            };
            let (slope, curve) = pull(
                case.discrimination,
                prior.discrimination,
                prior.discrimination_deviation,
            );
            shape.by_slope += slope;
            shape.slope_curve += curve;
            let (slope, curve) = pull(case.intercept, prior.intercept, prior.intercept_deviation);
            shape.by_intercept += slope;
            shape.intercept_curve += curve;
        }
        shape
    }
}

/// The second half of an iteration: better parameters for each case. Returns how far any moved.
fn improve_each(
    parameters: &mut [CaseParameters],
    tables: &Tables,
    grid: &Grid,
    prior: Option<&Prior>,
) -> f64 {
    let mut moved = 0.0_f64;
    for (number, case) in parameters.iter_mut().enumerate() {
        let before = *case;
        for _ in 0..NEWTON_STEPS_MAX {
            let shape = Shape::of(tables.of_case(number, grid), case, prior);
            let determinant =
                shape.slope_curve * shape.intercept_curve - shape.mixed_curve * shape.mixed_curve;
            if determinant <= f64::MIN_POSITIVE {
                break;
            }
            let slope = (shape.intercept_curve * shape.by_slope
                - shape.mixed_curve * shape.by_intercept)
                / determinant;
            let intercept = (shape.slope_curve * shape.by_intercept
                - shape.mixed_curve * shape.by_slope)
                / determinant;
            case.discrimination = stepped(case.discrimination, slope, SLOPE_MAX);
            case.intercept = stepped(case.intercept, intercept, INTERCEPT_MAX);
            if slope.abs().max(intercept.abs()) < NEWTON_STEP_LEAST {
                break;
            }
        }
        moved = moved.max((case.discrimination - before.discrimination).abs());
        moved = moved.max((case.intercept - before.intercept).abs());
    }
    moved
}

/// The same with one slope for all: intercepts first, then the slope.
fn improve_equal(
    parameters: &mut [CaseParameters],
    tables: &Tables,
    grid: &Grid,
    prior: Option<&Prior>,
) -> f64 {
    let mut moved = 0.0_f64;
    for (number, case) in parameters.iter_mut().enumerate() {
        let before = case.intercept;
        for _ in 0..NEWTON_STEPS_MAX {
            let shape = Shape::of(tables.of_case(number, grid), case, prior);
            let step = quotient(shape.by_intercept, shape.intercept_curve);
            case.intercept = stepped(case.intercept, step, INTERCEPT_MAX);
            if step.abs() < NEWTON_STEP_LEAST {
                break;
            }
        }
        moved = moved.max((case.intercept - before).abs());
    }
    let (mut by_slope, mut curve) = (0.0, 0.0);
    for (number, case) in parameters.iter().enumerate() {
        let shape = Shape::of(tables.of_case(number, grid), case, prior);
        by_slope += shape.by_slope;
        curve += shape.slope_curve;
    }
    let step = quotient(by_slope, curve);
    for case in parameters {
        let slope = stepped(case.discrimination, step, SLOPE_MAX);
        moved = moved.max((slope - case.discrimination).abs());
        case.discrimination = slope;
    }
    moved
}

fn stepped(value: f64, step: f64, most: f64) -> f64 {
    let step = step.clamp(-NEWTON_STEP_MAX, NEWTON_STEP_MAX);
    (value + step).clamp(-most, most)
}

fn quotient(slope: f64, curve: f64) -> f64 {
    if curve > f64::MIN_POSITIVE {
        slope / curve
    } else {
        0.0
    }
}

/// Makes shares of logarithms, which sum to 1; returns the logarithm of what they summed to.
fn normalise(logs: &mut [f64]) -> f64 {
    let greatest = logs.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let mut sum = 0.0;
    for log in logs.iter_mut() {
        *log = (*log - greatest).exp();
        sum += *log;
    }
    for share in logs.iter_mut() {
        *share /= sum;
    }
    greatest + sum.ln()
}

fn logistic(odds: f64) -> f64 {
    1.0 / (1.0 + (-odds).exp())
}

/// The logarithm of [`logistic`], exact also far from 0.
fn log_logistic(odds: f64) -> f64 {
    odds.min(0.0) - (-odds.abs()).exp().ln_1p()
}
