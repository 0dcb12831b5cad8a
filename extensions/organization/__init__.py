"""An organization's template: built from a release of this one, a policy and an overlay; never forked."""
