//! The live view of `monitor`: a model of the screen, and what draws it.

mod data;
pub(crate) mod details;
mod history;
pub(crate) mod look;
pub(crate) mod message;
pub(crate) mod model;
mod number;
mod sheet;
pub(crate) mod tabs;
pub(crate) mod terminal;
pub(crate) mod view;

#[cfg(test)]
mod fixture;
