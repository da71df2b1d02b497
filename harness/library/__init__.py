"""What `import advisor` offers beyond its own packages: a model and a dataset in, an answer out."""
