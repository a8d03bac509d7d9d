"""Generator and discriminator families behind one interface."""
