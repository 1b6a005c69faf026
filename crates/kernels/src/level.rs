//! Turns the processor's abilities, and the user's wish, into one level of kernels.

use std::fmt;

/// Instruction-set levels, lowest first: those of x86-64, then that of 64-bit ARM.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Level {
    /// Plain Rust: the twin that the others must equal.
    Scalar,
    /// AVX2 with FMA and F16C.
    Avx2,
    /// AVX-512 F, BW, DQ, VL with VNNI.
    Avx512Vnni,
    /// NEON with dot products (ARMv8.2 and later).
    NeonDot,
}

/// The environment variable that forces a level.
pub const LEVEL_VARIABLE: &str = "MYRIAD_KERNELS";

impl Level {
    /// Every level, lowest first.
    pub const ALL: [Level; 4] = [Level::Scalar, Level::Avx2, Level::Avx512Vnni, Level::NeonDot];

    /// The levels that this processor can run, lowest first.
    pub fn available() -> Vec<Level> {
        Level::ALL.into_iter().filter(|level| level.runs_here()).collect()
    }

    /// The name used in [`LEVEL_VARIABLE`] and in reports.
    pub fn name(self) -> &'static str {
        match self {
            Level::Scalar => "scalar",
            Level::Avx2 => "avx2",
            Level::Avx512Vnni => "avx512vnni",
            Level::NeonDot => "neondot",
        }
    }

    /// The level of that name.
    pub fn parse(name: &str) -> Option<Level> {
        Level::ALL.into_iter().find(|level| level.name().eq_ignore_ascii_case(name.trim()))
    }

    #[cfg(target_arch = "x86_64")]
    fn runs_here(self) -> bool {
        let avx2 = is_x86_feature_detected!("avx2")
            && is_x86_feature_detected!("fma")
            && is_x86_feature_detected!("f16c");
        match self {
            Level::Scalar => true,
            Level::Avx2 => avx2,
            Level::Avx512Vnni => {
                avx2 && is_x86_feature_detected!("avx512f")
                    && is_x86_feature_detected!("avx512bw")
                    && is_x86_feature_detected!("avx512dq")
                    && is_x86_feature_detected!("avx512vl")
                    && is_x86_feature_detected!("avx512vnni")
            }
            Level::NeonDot => false,
        }
    }

    #[cfg(target_arch = "aarch64")]
    fn runs_here(self) -> bool {
        match self {
            Level::Scalar => true,
            Level::Avx2 | Level::Avx512Vnni => false,
            Level::NeonDot => std::arch::is_aarch64_feature_detected!("dotprod"),
        }
    }

    #[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
    fn runs_here(self) -> bool {
        self == Level::Scalar
    }
}

/// `MYRIAD_KERNELS` asks for a level that is not there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LevelError {
    wanted: String,
}

impl fmt::Display for LevelError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<&str> = Level::available().into_iter().map(Level::name).collect();
        write!(
            f,
            "{LEVEL_VARIABLE}={}: this processor runs {}; unset it to take the best",
            self.wanted,
            names.join(", ")
        )
    }
}

impl std::error::Error for LevelError {}

/// The kernels of one level. Only [`Kernels::detect`] and [`Kernels::at`] make one, and only for a
/// level that this processor runs: holding one is the proof that its instructions may be used.
#[derive(Clone, Copy, Debug)]
pub struct Kernels {
    level: Level,
}

static KERNELS: [Kernels; 4] = [
    Kernels { level: Level::Scalar },
    Kernels { level: Level::Avx2 },
    Kernels { level: Level::Avx512Vnni },
    Kernels { level: Level::NeonDot },
];

impl Kernels {
    /// The best level here, or the one that `MYRIAD_KERNELS` names.
    pub fn detect() -> Result<&'static Kernels, LevelError> {
        match std::env::var(LEVEL_VARIABLE) {
            Ok(wanted) if !wanted.is_empty() => {
                Level::parse(&wanted).and_then(Kernels::at).ok_or(LevelError { wanted })
            }
            _ => {
                let best = Level::available().pop().unwrap_or(Level::Scalar);
                Ok(&KERNELS[best as usize])
            }
        }
    }

    /// The kernels of `level`, if this processor runs it.
    pub fn at(level: Level) -> Option<&'static Kernels> {
        level.runs_here().then(|| &KERNELS[level as usize])
    }

    /// Whether these may use products of BF16 pairs: not every processor with AVX-512 has them.
    pub(crate) fn has_bf16(&self) -> bool {
        #[cfg(target_arch = "x86_64")]
        let detected = is_x86_feature_detected!("avx512bf16");
        #[cfg(not(target_arch = "x86_64"))]
        let detected = false;
        self.level == Level::Avx512Vnni && detected
    }

    /// Which level these are.
    pub fn level(&self) -> Level {
        self.level
    }
}

/// Makes a function that runs a kernel, written over `Lanes`, at the level of a [`Kernels`].
///
/// `leveled!(fn name(kernels, argument: Type, …) -> Result = kernel)` expands to one
/// `#[target_feature]` copy of the kernel for each level and a function that picks among them.
macro_rules! leveled {
    ($(#[$attribute:meta])* $visible:vis fn $name:ident(
        kernels $(, $argument:ident: $type:ty)* $(,)?
    ) $(-> $result:ty)? = $kernel:ident $(::<$($constant:ident),+>)?
    $(where $($parameter:ident: $kind:ty),+)?) => {
        $(#[$attribute])*
        #[allow(clippy::too_many_arguments)]
        $visible fn $name $(<$(const $parameter: $kind),+>)? (
            kernels: &$crate::level::Kernels, $($argument: $type),*
        ) $(-> $result)? {
            #[cfg(target_arch = "x86_64")]
            #[target_feature(enable = "avx2,fma,f16c")]
            unsafe fn avx2 $(<$(const $parameter: $kind),+>)? (
                $($argument: $type),*
            ) $(-> $result)? {
                // SAFETY: this function's own target features.
                unsafe { $kernel::<$crate::lanes::avx2::Avx2 $($(, $constant)+)?>($($argument),*) }
            }
            #[cfg(target_arch = "x86_64")]
            #[target_feature(enable = "avx2,fma,f16c")]
            #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni")]
            unsafe fn avx512 $(<$(const $parameter: $kind),+>)? (
                $($argument: $type),*
            ) $(-> $result)? {
                // SAFETY: this function's own target features.
                unsafe {
                    $kernel::<$crate::lanes::avx512::Avx512 $($(, $constant)+)?>($($argument),*)
                }
            }
            #[cfg(target_arch = "aarch64")]
            #[target_feature(enable = "neon,dotprod")]
            unsafe fn neon $(<$(const $parameter: $kind),+>)? (
                $($argument: $type),*
            ) $(-> $result)? {
                // SAFETY: this function's own target features.
                unsafe { $kernel::<$crate::lanes::neon::Neon $($(, $constant)+)?>($($argument),*) }
            }
            static REACHED: $crate::reached::Reached =
                $crate::reached::Reached::new(concat!(module_path!(), "::", stringify!($name)));
            REACHED.mark(kernels.level());
            // SAFETY: a `Kernels` exists only for a level that this processor runs.
            unsafe {
                match kernels.level() {
                    $crate::level::Level::Scalar => {
                        $kernel::<$crate::lanes::scalar::Scalar $($(, $constant)+)?>($($argument),*)
                    }
                    #[cfg(target_arch = "x86_64")]
                    $crate::level::Level::Avx2 => avx2 $(::<$($parameter),+>)? ($($argument),*),
                    #[cfg(target_arch = "x86_64")]
                    $crate::level::Level::Avx512Vnni => {
                        avx512 $(::<$($parameter),+>)? ($($argument),*)
                    }
                    #[cfg(target_arch = "aarch64")]
                    $crate::level::Level::NeonDot => neon $(::<$($parameter),+>)? ($($argument),*),
                    other => unreachable!("{other:?} does not run on this architecture"),
                }
            }
        }
    };
}
pub(crate) use leveled;
