"""From a model and constraints to an edited model: patch, natural gradient, gradient rules, slots of sentences."""
