//! Views kept, jobs done and cron: on a store in memory whose calls fail as planned, and on the stores
//! there are.

// What the others share: a deployment, its processes, and a view that counts.
mod world;

// Cron.
mod cron;
// Who is told that a key was corrected, and what is deleted.
mod learning;
// The same on a file and on a server.
mod stores;
// Views against what their log says.
mod views;
// Messages to another server.
#[cfg(feature = "webhook")]
mod webhook;
// Jobs and their ends.
mod workers;
