"""One module for each library that decodes, behind one interface."""
