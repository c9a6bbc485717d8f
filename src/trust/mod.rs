//! Keys, signatures and the decision whether to trust a bundle.
