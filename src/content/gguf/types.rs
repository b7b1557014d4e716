//! The types of tensors (llama.cpp `ggml/include/ggml.h` and `ggml/src/ggml-common.h`, b11434).

/// How the elements of a tensor are kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TensorType {
    /// As llama.cpp's flags and logs call it, such as `q4_K`.
    pub name: &'static str,
    /// Elements of a block.
    pub elements: u32,
    /// Bytes of a block.
    pub bytes: u32,
}

impl TensorType {
    /// By its number in a file; `None` if it is none that this release knows.
    pub fn of_number(number: u32) -> Option<Self> {
        let (_, name, elements, bytes) = *TYPES.iter().find(|(known, ..)| *known == number)?;
        Some(Self { name, elements, bytes })
    }

    /// By its name, in small or capital letters.
    pub fn of_name(name: &str) -> Option<Self> {
        let (number, ..) = TYPES.iter().find(|(_, known, ..)| known.eq_ignore_ascii_case(name))?;
        Self::of_number(*number)
    }

    /// Bytes of rows with so many elements in all; `None` if they do not fill their blocks, or are too many.
    pub fn size(&self, elements: u64) -> Option<u64> {
        let (block, bytes) = (u64::from(self.elements), u64::from(self.bytes));
        elements.is_multiple_of(block).then(|| (elements / block).checked_mul(bytes)).flatten()
    }
}

/// Number, name, elements and bytes of a block.
const TYPES: [(u32, &str, u32, u32); 35] = [
    (0, "f32", 1, 4),
    (1, "f16", 1, 2),
    (2, "q4_0", 32, 18),
    (3, "q4_1", 32, 20),
    (6, "q5_0", 32, 22),
    (7, "q5_1", 32, 24),
    (8, "q8_0", 32, 34),
    (9, "q8_1", 32, 36),
    (10, "q2_K", 256, 84),
    (11, "q3_K", 256, 110),
    (12, "q4_K", 256, 144),
    (13, "q5_K", 256, 176),
    (14, "q6_K", 256, 210),
    (15, "q8_K", 256, 292),
    (16, "iq2_xxs", 256, 66),
    (17, "iq2_xs", 256, 74),
    (18, "iq3_xxs", 256, 98),
    (19, "iq1_s", 256, 50),
    (20, "iq4_nl", 32, 18),
    (21, "iq3_s", 256, 110),
    (22, "iq2_s", 256, 82),
    (23, "iq4_xs", 256, 136),
    (24, "i8", 1, 1),
    (25, "i16", 1, 2),
    (26, "i32", 1, 4),
    (27, "i64", 1, 8),
    (28, "f64", 1, 8),
    (29, "iq1_m", 256, 56),
    (30, "bf16", 1, 2),
    (34, "tq1_0", 256, 54),
    (35, "tq2_0", 256, 66),
    (39, "mxfp4", 32, 17),
    (40, "nvfp4", 64, 36),
    (41, "q1_0", 128, 18),
    (42, "q2_0", 64, 18),
];
