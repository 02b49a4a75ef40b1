"""What boxmill can be shown with where there are no weights, no photographs and no network: scenes it draws itself."""
