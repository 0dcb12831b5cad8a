"""What passes between the rooms: words that all of them know, and that know no room."""
