//! A colour and a pattern for each VNI: told apart by people who see no red or no green (after Okabe and Ito), and by
//! nobody needed, since every line and box says its VNI in words.

/// How a VNI looks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Tone {
    /// Lines and marks.
    pub(super) strong: &'static str,
    /// The ground below dark words.
    pub(super) tint: &'static str,
    /// The pattern of lines.
    pub(super) dash: &'static str,
}

/// What belongs to no VNI.
pub(super) const NEUTRAL: Tone = Tone { strong: "#4a5361", tint: "#f2f4f6", dash: "" };

const COLOURS: [(&str, &str); 8] = [
    ("#0072b2", "#e1f0f9"),
    ("#e69f00", "#fdf2dc"),
    ("#009e73", "#ddf4ec"),
    ("#b8578f", "#f8e8f1"),
    ("#d55e00", "#fde8da"),
    ("#56b4e9", "#e9f6fd"),
    ("#4d4a00", "#eeedd5"),
    ("#8a2be2", "#f1e6fd"),
];

const DASHES: [&str; 4] = ["", "9 3", "3 3", "12 3 3 3"];

/// The look of the VNI at this place among all.
pub(super) const fn tone(place: usize) -> Tone {
    let (strong, tint) = COLOURS[place % COLOURS.len()];
    // Thirty-two pairs before one comes again; neighbours differ in both.
    let dash = DASHES[(place + place / COLOURS.len()) % DASHES.len()];
    Tone { strong, tint, dash }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Linear RGB as those see it who have all cones, or lack those for red, green or blue (Machado, Oliveira and
    /// Fernandes 2009).
    const EYES: [[[f64; 3]; 3]; 4] = [
        [[1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]],
        [[0.152, 1.053, -0.205], [0.115, 0.786, 0.099], [-0.004, -0.048, 1.052]],
        [[0.367, 0.861, -0.228], [0.280, 0.673, 0.047], [-0.012, 0.043, 0.969]],
        [[1.256, -0.077, -0.179], [-0.078, 0.931, 0.148], [0.005, 0.691, 0.304]],
    ];

    fn times(matrix: &[[f64; 3]; 3], v: [f64; 3]) -> [f64; 3] {
        matrix.map(|row| row.iter().zip(v).map(|(a, b)| a * b).sum())
    }

    /// A colour in CIELAB, where distances are about what eyes make of them.
    fn seen(colour: &str, eyes: &[[f64; 3]; 3]) -> [f64; 3] {
        let part = |at| f64::from(u8::from_str_radix(&colour[at..at + 2], 16).unwrap()) / 255.0;
        let linear = |c: f64| if c <= 0.04045 { c / 12.92 } else { ((c + 0.055) / 1.055).powf(2.4) };
        let rgb = times(eyes, [1, 3, 5].map(|at| linear(part(at)))).map(|c| c.clamp(0.0, 1.0));
        // CIE XYZ for sRGB's primaries, over its white.
        let xyz = times(&[[0.434, 0.376, 0.190], [0.213, 0.715, 0.072], [0.018, 0.109, 0.873]], rgb);
        let [x, y, z] = xyz.map(|t| if t > 0.008_856 { t.cbrt() } else { 7.787 * t + 16.0 / 116.0 });
        [116.0 * y - 16.0, 500.0 * (x - y), 200.0 * (y - z)]
    }

    #[test]
    fn everybody_can_tell_them_apart() {
        let strong: Vec<&str> = COLOURS.iter().map(|(strong, _)| *strong).chain([NEUTRAL.strong]).collect();
        for (at, a) in strong.iter().enumerate() {
            for b in &strong[at + 1..] {
                for eyes in &EYES {
                    let (p, q) = (seen(a, eyes), seen(b, eyes));
                    let distance = p.iter().zip(q).map(|(p, q)| (p - q).powi(2)).sum::<f64>().sqrt();
                    assert!(distance > 15.0, "{a} and {b}: {distance}");
                }
            }
        }
    }
}
