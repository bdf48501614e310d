"""Tables of the papers, one YAML file each; every file here is found."""
