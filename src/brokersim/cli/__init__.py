"""Floor 7: the door for people. One file per noun; nothing here is imported by another floor."""
