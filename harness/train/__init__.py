"""Fine-tuning with an objective, on TRL; what it saves, resumes and refuses."""
