"""Changes of the tables from one version of Tidegate to the next."""
