terraform {
  required_version = ">= 1.11, < 2" # the state's lock is a file in its bucket
}
