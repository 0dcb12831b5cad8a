# It gives nothing back.
