//! Schemes that have a name of their own: the same sentences, said once.

use super::Scheme;
use crate::format::{Codebook, Format, Minifloat};
use crate::scale::ScaleFormat;

/// The presets that say more than a format: their name, and the scheme.
pub(super) fn presets() -> [(&'static str, Scheme); 7] {
    [
        ("mxfp8-e4m3", Scheme::mxfp8_e4m3()),
        ("mxfp8-e5m2", Scheme::mxfp8_e5m2()),
        ("mxfp6-e2m3", Scheme::mxfp6_e2m3()),
        ("mxfp6-e3m2", Scheme::mxfp6_e3m2()),
        ("mxfp4", Scheme::mxfp4()),
        ("mxint8", Scheme::mxint8()),
        ("nvfp4", Scheme::nvfp4()),
    ]
}

impl Scheme {
    fn mx(format: Format) -> Self {
        Self::of(format).per_group(32).with_scale_format(ScaleFormat::E8M0)
    }

    /// MXFP8 with E4M3FN elements: groups of 32 that share a power of two, 8.25 bits an element.
    ///
    /// The OCP's microscaling formats, version 1.0, section 5: scale = 2^(⌊log₂ amax⌋ - emax), elements rounded half to even and
    /// saturated. [`Scheme::with_scale_rule`] has the other rules in use. A group of zeros has the smallest scale, 2⁻¹²⁷, and so does one
    /// whose scale would be smaller still; a scale above 2¹²⁷, which f64 data can have and MXINT8 rounded up at f32's end, is an error.
    /// Source: <https://www.opencompute.org/documents/ocp-microscaling-formats-mx-v1-0-spec-final-pdf>
    pub fn mxfp8_e4m3() -> Self {
        Self::mx(Format::Float(Minifloat::E4M3FN))
    }

    /// MXFP8 with E5M2 elements, 8.25 bits an element; see [`Scheme::mxfp8_e4m3`].
    pub fn mxfp8_e5m2() -> Self {
        Self::mx(Format::Float(Minifloat::E5M2))
    }

    /// MXFP6 with E2M3 elements, 6.25 bits an element; see [`Scheme::mxfp8_e4m3`].
    pub fn mxfp6_e2m3() -> Self {
        Self::mx(Format::Float(Minifloat::E2M3))
    }

    /// MXFP6 with E3M2 elements, 6.25 bits an element; see [`Scheme::mxfp8_e4m3`].
    pub fn mxfp6_e3m2() -> Self {
        Self::mx(Format::Float(Minifloat::E3M2))
    }

    /// MXFP4: E2M1 elements, 4.25 bits an element; see [`Scheme::mxfp8_e4m3`].
    pub fn mxfp4() -> Self {
        Self::mx(Format::Float(Minifloat::E2M1))
    }

    /// MXINT8: 8-bit integers that stand for k/64, 8.25 bits an element; see [`Scheme::mxfp8_e4m3`].
    ///
    /// [`crate::QParams::scales`] has the step between codes, so a 64th of the shared scale that is stored. All 256 codes are used, -2
    /// (code -128) among them; [`Scheme::restricted_range`] leaves it out, as the specification allows.
    pub fn mxint8() -> Self {
        Self::mx(Format::int(8))
    }

    /// NVFP4: E2M1 elements, an E4M3FN scale for each 16, an f32 scale for the tensor; 4.5 bits an element.
    ///
    /// ```text
    /// S = amax / (448 · 6)      s = e4m3(amax_of_block / (6 · S))      q = e2m1(x / (s · S))      x̂ = q · (s · S)
    /// ```
    ///
    /// As NVIDIA's ModelOpt has it: s is at least 2⁻⁹, the smallest number of its type, and 1 where the quotient is 0; a tensor of zeros, for
    /// which it divides by 0, has S = 1 here, and one for which S vanishes in f32 has f32's smallest number. Under [`crate::Convention::TorchAo`] s is at least 2⁻⁶ and x is multiplied by (1 / S) / s. ggml's
    /// third variant, which has no S in its blocks, is [`crate::Ggml::NVFP4`].
    /// Sources: <https://github.com/NVIDIA/Model-Optimizer/blob/0.47.0/modelopt/torch/quantization/qtensor/nvfp4_tensor.py>,
    /// <https://github.com/pytorch/ao/blob/v0.18.0/torchao/prototype/mx_formats/nvfp4_tensor.py>
    pub fn nvfp4() -> Self {
        Self::float(Minifloat::E2M1).per_group(16).with_scale_format(ScaleFormat::E4M3).with_tensor_scale()
    }

    /// NF4 with one scale for the tensor; bitsandbytes has `Scheme::nf4().per_group(64)`, and QLoRA that
    /// [`double_quantized`](Scheme::double_quantized). The scale is amax.
    ///
    /// bitsandbytes cuts the flattened tensor into groups, and we cut rows: the same where 64 divides the row. It multiplies whole groups by the
    /// reciprocal of amax, as `nf4-g64-torchao` does, and divides a shorter last one, as `nf4-g64` does; the two differ only
    /// where x / amax is next to a threshold. It takes amax to be at least 10⁻³⁸.
    pub fn nf4() -> Self {
        Self::codebook(Codebook::NF4)
    }

    /// bitsandbytes' FP4 with one scale for the tensor, amax; see [`Scheme::nf4`].
    pub fn fp4() -> Self {
        Self::codebook(Codebook::FP4)
    }

    /// BitNet b1.58's weights: -1, 0 and 1, the scale being mean |x|. <https://arxiv.org/abs/2402.17764>
    pub fn ternary() -> Self {
        Self::codebook(Codebook::TERNARY)
    }

    /// One bit: sign(x) · mean |x|, the scale of least squared error for two values around 0; 0 becomes positive. There is no code for 0, so a
    /// block of zeros has the smallest normal scale.
    /// <https://arxiv.org/abs/1603.05279>
    pub fn binary() -> Self {
        Self::codebook(Codebook::BINARY)
    }
}
