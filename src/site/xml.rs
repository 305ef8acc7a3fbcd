//! Small XML documents, read and written with every field they came with.
