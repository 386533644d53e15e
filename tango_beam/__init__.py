"""TangoBERT's cascade of a small and a large model as an Apache Beam job."""
