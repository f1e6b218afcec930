//! Seeded synthetic data: the same numbers for the same seed.

use rand::RngExt;
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;
use rand_distr::{Distribution as _, StandardNormal};

use crate::dtype::Dtype;
use crate::error::{Error, Result};
use crate::tensor::{Real, Tensor};

/// What a value is drawn from.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Distribution {
    Uniform { low: f64, high: f64 },
    Normal { mean: f64, std_dev: f64 },
    Laplace { mean: f64, scale: f64 },
}

/// A recipe for random data: a distribution, perhaps with outliers, perhaps rounded, from a fixed seed.
///
/// Values are drawn in f64 with ChaCha8, whose stream is specified, and then rounded to the tensor's type, so the f32 tensor
/// holds the f64 tensor's values rounded.
///
/// ```
/// # use quantlens::Synthetic;
/// // As the original notebook draws: uniform in [-50, 150), rounded to 2 decimals.
/// let parameters = Synthetic::uniform(-50.0, 150.0).decimals(2).seed(7).tensor::<f64>("parameters", &[20])?;
/// assert!(parameters.min() >= -50.0 && parameters.max() <= 150.0);
/// // One value in a thousand is 20 times as large, as in the activations of a language model.
/// let spiky = Synthetic::normal(0.0, 1.0).outliers(0.001, 20.0).seed(7).tensor::<f32>("spiky", &[64, 256])?;
/// assert!(spiky.max() > 10.0);
/// # Ok::<(), quantlens::Error>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Synthetic {
    distribution: Distribution,
    outlier_fraction: f64,
    outlier_factor: f64,
    decimals: Option<u32>,
    seed: u64,
}

impl Synthetic {
    /// Uniform from low to high; high itself only by rounding to the tensor's type.
    pub fn uniform(low: f64, high: f64) -> Self {
        Self::of(Distribution::Uniform { low, high })
    }

    /// Normal of this mean and standard deviation.
    pub fn normal(mean: f64, std_dev: f64) -> Self {
        Self::of(Distribution::Normal { mean, std_dev })
    }

    /// Laplace of this mean and scale `b`; its standard deviation is `b·√2`. Weights of trained networks have tails like it.
    pub fn laplace(mean: f64, scale: f64) -> Self {
        Self::of(Distribution::Laplace { mean, scale })
    }

    fn of(distribution: Distribution) -> Self {
        Self { distribution, outlier_fraction: 0.0, outlier_factor: 1.0, decimals: None, seed: 0 }
    }

    /// Makes each value an outlier with probability `fraction`, 0 to 1: it is multiplied by `factor`.
    pub fn outliers(self, fraction: f64, factor: f64) -> Self {
        Self { outlier_fraction: fraction, outlier_factor: factor, ..self }
    }

    /// Rounds each value to this many decimals, 0 to 15, half to even, as `numpy.round` does.
    pub fn decimals(self, decimals: u32) -> Self {
        Self { decimals: Some(decimals), ..self }
    }

    /// The seed; 0 if never said.
    pub fn seed(self, seed: u64) -> Self {
        Self { seed, ..self }
    }

    /// Draws a tensor of this shape.
    ///
    /// # Errors
    /// [`Error::Synthetic`] if a parameter is not finite, a width is not above 0, the fraction is outside 0 to 1 or there are
    /// more than 15 decimals; [`Error::NotFinite`] if a value is too large for the type; [`Error::Empty`] if the shape has no elements; [`Error::Shape`] if its product overflows.
    pub fn tensor<T: Real>(self, name: impl Into<String>, shape: &[usize]) -> Result<Tensor> {
        self.tensor_of(T::DTYPE, name.into(), shape)
    }

    /// Not generic, so that a notebook cell that draws a tensor has no generator of random numbers to compile.
    fn tensor_of(self, dtype: Dtype, name: String, shape: &[usize]) -> Result<Tensor> {
        match dtype {
            Dtype::F32 => self.draw_tensor::<f32>(name, shape),
            Dtype::F64 => self.draw_tensor::<f64>(name, shape),
        }
    }

    fn draw_tensor<T: Real>(self, name: String, shape: &[usize]) -> Result<Tensor> {
        self.validate()?;
        let Some(elements) = shape.iter().try_fold(1_usize, |product, &length| product.checked_mul(length)) else {
            return Err(Error::Shape { name, shape: shape.to_vec(), needed: usize::MAX, elements: 0 });
        };
        let mut rng = ChaCha8Rng::seed_from_u64(self.seed);
        let values = (0..elements).map(|_| T::from_f64(self.draw(&mut rng))).collect();
        Tensor::new(name, shape, values)
    }

    fn draw(&self, rng: &mut ChaCha8Rng) -> f64 {
        let value = match self.distribution {
            Distribution::Uniform { low, high } => low + (high - low) * rng.random::<f64>(),
            Distribution::Normal { mean, std_dev } => {
                let standard: f64 = StandardNormal.sample(rng);
                mean + std_dev * standard
            }
            Distribution::Laplace { mean, scale } => {
                // The inverse of the distribution function; the ends of (-1/2, 1/2) would be infinite and are left out.
                let u = 0.5 - rng.random::<f64>().max(f64::EPSILON);
                mean - scale * u.signum() * (1.0 - 2.0 * u.abs()).max(f64::EPSILON).ln()
            }
        };
        let is_outlier = self.outlier_fraction > 0.0 && rng.random::<f64>() < self.outlier_fraction;
        let value = if is_outlier { value * self.outlier_factor } else { value };
        match self.decimals {
            Some(decimals) => {
                let ten_to_decimals = 10_f64.powi(decimals as i32);
                (value * ten_to_decimals).round_ties_even() / ten_to_decimals
            }
            None => value,
        }
    }

    fn validate(&self) -> Result<()> {
        let finite = |parameter, value: f64| {
            if value.is_finite() { Ok(()) } else { Err(Error::Synthetic { parameter, value, needs: "it must be finite" }) }
        };
        let positive = |parameter, value: f64| {
            finite(parameter, value)?;
            if value > 0.0 { Ok(()) } else { Err(Error::Synthetic { parameter, value, needs: "it must be above 0" }) }
        };
        match self.distribution {
            Distribution::Uniform { low, high } => {
                finite("low", low)?;
                finite("high", high)?;
                positive("high - low", high - low)?;
            }
            Distribution::Normal { mean, std_dev } => {
                finite("mean", mean)?;
                positive("std_dev", std_dev)?;
            }
            Distribution::Laplace { mean, scale } => {
                finite("mean", mean)?;
                positive("scale", scale)?;
            }
        }
        finite("outlier factor", self.outlier_factor)?;
        if !(0.0..=1.0).contains(&self.outlier_fraction) {
            let value = self.outlier_fraction;
            return Err(Error::Synthetic { parameter: "outlier fraction", value, needs: "it must be 0 to 1" });
        }
        match self.decimals {
            Some(decimals) if decimals > 15 => {
                Err(Error::Synthetic { parameter: "decimals", value: decimals.into(), needs: "it must be 0 to 15" })
            }
            _ => Ok(()),
        }
    }
}
