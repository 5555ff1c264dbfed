//! The client side: connections, balancing and unary calls.
