//! What a consumer declares about itself.

/// What the answer of a consumer means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Acknowledges {
    /// Success means: held in memory by a sending queue. A crash may still lose it, and the user chose that.
    Accepted,
    /// Success means: the final destination, or a durable queue, has it.
    Delivered,
}

/// What a consumer declares about itself at one moment: a reload may change what lies behind it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Capabilities {
    /// What success of [`crate::Consumer::consume`] means here, everything downstream included.
    pub acknowledges: Acknowledges,
}

impl Capabilities {
    /// The capabilities of something that hands on to all of `parts`: it promises no less than its strictest part.
    pub fn of_all(parts: impl IntoIterator<Item = Capabilities>) -> Self {
        let mut parts = parts.into_iter().peekable();
        let all_accept = parts.peek().is_some() && parts.all(|p| p.acknowledges == Acknowledges::Accepted);
        Self { acknowledges: if all_accept { Acknowledges::Accepted } else { Acknowledges::Delivered } }
    }
}

impl Default for Capabilities {
    fn default() -> Self {
        Self { acknowledges: Acknowledges::Delivered }
    }
}
