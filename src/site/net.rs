//! One HTTP stack for the SDK and for our own signed requests.
