"""On-policy distillation: the student's own answers, scored by a teacher."""
