//! How wide a text is, without a font: the advances of DejaVu Sans, which is as wide as any font that browsers take for
//! `sans-serif` (Arial, Helvetica, Liberation and Noto are narrower), so that what fits by this table fits.

/// How a text is set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Style {
    /// The picture's title.
    Title,
    /// Names: hosts, VNIs.
    Head,
    /// Sentences.
    Body,
    /// What is said beside a name.
    Small,
    /// Addresses.
    Mono,
}

impl Style {
    /// The size of the font, in pixels.
    pub(super) const fn size(self) -> i32 {
        match self {
            Self::Title => 20,
            Self::Head => 13,
            Self::Body | Self::Mono => 12,
            Self::Small => 11,
        }
    }

    /// From one line to the next.
    pub(super) const fn line(self) -> i32 {
        match self {
            Self::Title => 28,
            Self::Head => 18,
            Self::Body | Self::Mono | Self::Small => 16,
        }
    }

    /// Its class in the style sheet.
    pub(super) const fn class(self) -> &'static str {
        match self {
            Self::Title => "t",
            Self::Head => "h",
            Self::Body => "b",
            Self::Small => "s",
            Self::Mono => "m",
        }
    }

    /// The advance of a character in thousandths of the size.
    fn advance(self, c: char) -> i32 {
        let (table, other) = match self {
            Self::Title | Self::Head => (&BOLD, 1600),
            Self::Body | Self::Small => (&REGULAR, 1450),
            // Half of a full-width character's place in such fonts.
            Self::Mono => return if c.is_ascii() || c == '…' { 610 } else { 1220 },
        };
        match (c, (c as usize).checked_sub(32).and_then(|at| table.get(at))) {
            (_, Some(advance)) => i32::from(*advance),
            ('·', None) => 380,
            ('…', None) => 1000,
            _ => other,
        }
    }

    /// The width of a text in pixels, at most.
    pub(super) fn width(self, text: &str) -> i32 {
        let sum: i32 = text.chars().map(|c| self.advance(c)).sum();
        (sum * self.size() + 999) / 1000
    }

    /// Breaks a text into lines of at most `width`: between words, behind the colons of an address, or anywhere if a
    /// piece is too long by itself.
    pub(super) fn wrap(self, text: &str, width: i32) -> Vec<String> {
        let mut lines = Vec::new();
        let mut line = String::new();
        for piece in text.split_inclusive([' ', ':']) {
            if !line.is_empty() && self.width(&(line.clone() + piece.trim_end())) > width {
                lines.push(std::mem::take(&mut line));
            }
            if self.width(piece.trim_end()) <= width {
                line.push_str(piece);
                continue;
            }
            for c in piece.chars() {
                line.push(c);
                if self.width(&line) > width && line.chars().count() > 1 {
                    line.pop();
                    lines.push(std::mem::replace(&mut line, c.to_string()));
                }
            }
        }
        lines.push(line);
        for line in &mut lines {
            line.truncate(line.trim_end().len());
        }
        lines.retain(|line| !line.is_empty());
        lines
    }
}

/// Advances of U+0020 to U+007E in thousandths of the size.
type Advances = [u16; 95];

#[rustfmt::skip]
const REGULAR: Advances = [
    318, 401, 460, 838, 637, 951, 780, 275, 391, 391, 500, 838, 318, 361, 318, 337, 637, 637, 637, 637, 637, 637, 637, 637,
    637, 637, 337, 337, 838, 838, 838, 531, 1000, 685, 687, 699, 771, 632, 576, 775, 752, 295, 295, 656, 558, 863, 749, 788,
    604, 788, 695, 635, 611, 732, 685, 989, 686, 611, 686, 391, 337, 391, 838, 500, 500, 613, 635, 550, 635, 616, 353, 635,
    634, 278, 278, 580, 278, 975, 634, 612, 635, 635, 412, 521, 393, 634, 592, 818, 592, 592, 525, 637, 337, 637, 838,
];

#[rustfmt::skip]
const BOLD: Advances = [
    349, 457, 521, 838, 696, 1002, 873, 307, 458, 458, 523, 838, 380, 416, 380, 366, 696, 696, 696, 696, 696, 696, 696, 696,
    696, 696, 400, 400, 838, 838, 838, 581, 1000, 774, 763, 734, 831, 684, 684, 821, 837, 373, 373, 775, 638, 996, 837, 851,
    733, 851, 771, 721, 683, 813, 774, 1104, 771, 725, 726, 458, 366, 458, 838, 500, 500, 675, 716, 593, 716, 679, 436, 716,
    712, 343, 343, 666, 343, 1042, 712, 688, 716, 716, 494, 596, 479, 712, 652, 924, 646, 652, 583, 712, 366, 712, 838,
];
