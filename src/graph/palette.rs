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
    ("#8c8300", "#f5f3d6"),
    ("#5f6772", "#ebedf0"),
];

const DASHES: [&str; 4] = ["", "9 3", "3 3", "12 3 3 3"];

/// The look of the VNI at this place among all.
pub(super) const fn tone(place: usize) -> Tone {
    let (strong, tint) = COLOURS[place % COLOURS.len()];
    // Thirty-two pairs before one comes again; neighbours differ in both.
    let dash = DASHES[(place + place / COLOURS.len()) % DASHES.len()];
    Tone { strong, tint, dash }
}
