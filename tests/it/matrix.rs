//! A run survives anything: it dies at every boundary, on every kind of trouble, and goes on to the same end, with every
//! change seen by the sites exactly once.

mod bench;
mod deaths;
mod killed;
mod scenes;
mod trouble;
