//! Randomness that spreads what would otherwise happen everywhere at the same time.

/// A random number from 0 to 1.
#[must_use]
pub fn random_fraction() -> f64 {
    let mut bytes = [0; 4];
    // Without randomness, retries only happen at the same time.
    match getrandom::fill(&mut bytes) {
        Ok(()) => f64::from(u32::from_le_bytes(bytes)) / f64::from(u32::MAX),
        Err(_) => 0.5,
    }
}
