"""What the flows on a code host show, check and set up."""
