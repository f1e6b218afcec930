pub use quantlens;
