//! How many flows run on a backend, for the scheduler that asks.

use super::pod;

pod! {
    /// A row of the array `RUNNING`, by backend; eight bytes that are read and written as one.
    #[derive(Default)]
    pub struct Running {
        /// Flows: as of the agent's last count, and those placed since.
        pub flows: u32,
        /// The backend's weight; 0: it takes no clients.
        pub weight: u32,
    }
}
